"""What people write in general: everyday phrases, and requests, scenes and quality tags around a prompt.

Written for AutoLoRA, and under its license: from memory and word lists, without looking at an adapter or a test.
"""

EVERYDAY_PHRASES = tuple(
    """
a banister in morning light; vacuum cleaner; lifeboat; strange; waiter; street on a hill; carriage; his new doll;
without hands; ice rink; a budget in three copies; lawn sprinkler; family dinner; ferry; rural; jungle; washing
machine; giraffe; four cables; plastic with scratches; cellar; poem; late at night; a strange trailer; forgotten
magnifier; stone; a tiny scooter; uniform in the shop window; a warm jacket; moustache; A dirty skull of a newborn;
orange; adventure; in the middle; dream; a biscuit at the picnic; spring; tape; raw wax; early snow; bank with coffee
stains; penguin; quiet hotel; a dry tree; a famous mosque seen from above; small audience; four roofs; a new map;
solar panel; old-fashioned illustration; shiny; rough steam in sunlight; pens of a carpenter; mustard for breakfast;
some drawers; spicy melon; tropical; swimsuit; i need it today; can you make; red sandals; muscle; during the
holidays; a hungry sparrow; poor; box of nails; riding boots; a spoon in morning light; hedge; bird's eye view; an
early sun; a cactus behind the shed; copper piled in a yard; friend; ice; soft shadows; golden; a compass in a
toolbox; Four tears; dolphin; chart; not too busy; t-shirt design; huge lion; doormat; brick wall; police car; from
below; oak; banner; old trophy; glitch on the screen; a huge monkey on a rock; a bored groom; sledge; parking meter;
rice; boxing after school; a mosque in the old town; phone wallpaper; stapler; a tiny cable in the shed; statue; warm
buttons; northern lights; manager; christmas eve; seal; my old customer; confidential report; website; fountain;
anchors in a toolbox; beach on a clear day; hedgehog; cycling; a digital tripod; Leftover biscuit; flock of sheep;
boxing on television; tripod; a wet thistle; donkey; pen in the shed; first day of spring; slippers in the shop
window; wheel; tractors under a bridge; stool on the kitchen table; swimsuit in the shop window; gallery; guitar solo;
a tree on the balcony; A peaceful cliff; slippers; Remote cliff; wet lavender; an annual brochure; fast; engine;
loneliness; rough; tree on the balcony; organic doughnut; big; lion; strange puddle; hyperrealistic; a pram on a
country road; a film for beginners; omelette; scary; a broken thumb; curiosity; warm butter; budget in three copies;
horse; sick; elegant; rule of thirds; wild vine; small window; mug; a nervous groom; customer; pulley; sun; snow;
power cut; elbow; wool; meadow; nurse; A saucepan next to the bed; smooth wood; blueprint; wedding photography;
shadow; two taxis; stone steps; ruin; Skin in close-up; honey; a leather pocket; rat; a sleepy monkey in the fog; rat
on a farm; no frame; tea; A smiling fisherman; a fresh orange; back; photo negative; muddy; axe; a carnival in the
park; village; Sweet tea; city; a white sofa; apple; bored tailor; chin; desk; trousers; beer; fresh cheese; plain
background; quiet; a hinge in a toolbox; rehearsal; staff meeting; tattooed knee; futuristic; steak; row of houses;
rainy season; a few monks; polished concrete; promise; shy hairdresser; passport photo; cows with its young; small
circus; seed; a yellow wheel; swarm of bees; cable; some milk; a brown cat; swamp; doughnuts for two people; an annual
whiteboard; icecream on a wooden board; pens hanging on the wall; kettle; boring swimming; wrinkle; jealousy; an
ambulance at the station; organic steak; a distant moon; plates in morning light; ball of wool; a tiny sailboat; a
bottle from a flea market; swan; palm; smooth smoke; a modern shop; football after school; windmill; A biscuit at the
picnic; some graffiti; post office; spicy nuts on a white plate; a peaceful cave; carrot; valley; a red purse; as
simple as possible; brass band; as realistic as possible; an unforgettable game; oily tape; anvil; strong foot; new
warehouse; A serious neighbour on the telephone; car under a bridge; charming painting; striped; beautiful sand; a
quiet theatre; hammer; amateur canvas; bag of flour; sink next to the bed; tasty yoghurt; mysterious; raw wool; kite
under the bed; cave; noise; young fern; a hungry penguin; fire; a cheap documentary on loan; a pirate in uniform;
roof; raw wood; dark field; a crowded train in heavy traffic; a biscuit with herbs; alien landscape; tattoo design; a
cold waffle; school orchestra; whale; bar of soap; blunt pliers; could you please; a rusty airship; a long time ago;
in the background; screws; his best suit; tiny bark; windows from a flea market; young rooster; bark in early spring;
some scars; lily in early spring; from above; distant rain; teenager; a biscuit from the market; salary; Bored pilot;
friendship; competitive yoga on television; purple; loud; raincoat; pasta on a wooden board; a crowded forklift; clay
pot; empty curtains; Small funeral; spiky; swollen tooth; urgent keyboard; an old cemetery in the fog; a drum in a
box; nocturnal; unpaid whiteboard; her staircase; a wrinkled moustache; a useful shovel; muffin; forgotten switch; a
dusty kettle; tiny bamboo; A zebra at dusk; boxing ring; bay; crayon box; time machine; out of focus; many pancakes;
lens flare; granite; blurry; kitchen; towel; shirt with big pockets; padlock; a polished brick; stool; temple;
umbrella; tired cashier; attic; an elbow of an old man; glove; an early rock over the fields; blind date; tomato;
cottage; bank; beige; medal in a box; tunnel; a back of a newborn; a mouth of a newborn; balcony; a budget from last
year; a knife with a red handle; tiny tractor; tulip; cheerful; igloos in the old town; grandmother; raw concrete;
pyjamas; electrician; distant hail; seamless pattern; health; warm strawberries; librarian; film grain; please hurry;
butcher; sad; money; sheep; unpaid logo; buttons; bowl; shed at dusk; wrinkled muscle; some hinges; wooden toaster;
Four rowboats; spiral staircase; stock photo; potato; fork; a plumber drinking coffee; rush hour; a shiny kite; a
painter on the telephone; my belt; dusk; steam; a dead moth; shed; tired king; magic trick; finish line; early sun; a
tiny dragonfly; hoodie; a woollen belt; a tiny door; super cute; a ladybird in tall grass; many bathtubs; a few
tomatoes; two daisies; banister; movie poster; rainbow; 3d render; a polished pearl; a well in the old town; haunted
wall; stamp; loaf of bread; logo; frog; wild kangaroo; colourful; leather slippers that does not fit; a famous dance;
Two photographers; springs in the shed; rich; four notebooks; A lion looking at the camera; plastic piled in a yard; a
tiny fountain; swimsuits in the shop window; cut flowers; shark; an electric stapler; a colourful chart; soldier;
boots for a wedding; colleagues for the boss; abandoned airport; bright; rose; tiny acorn; students waiting for the
bus; checked; dawn; pancakes on a wooden board; a curious kitten; receipt; early dusk; a mushroom on a white plate; a
peaceful glacier; wet; rough steel; bowling alley; pilot reading a letter; dotted; nervous nurse; contract; their
first day at school; Long screen; key; complicated; 8k wallpaper; five posters; strong finger; ruined balcony; one
more time; river; library; some tunnels; church bell; white tent; hail; letterbox; melon on a white plate; a green
key; stained glass window; some wristbands; lightning; bus stop; Bathroom at grandma's house; an abstract statue;
cardboard; frozen swamp; smooth marble; duck; short; neon sign; picnic; old garage; tiny canoe; an angry camel on a
rock; wide angle lens; a dark mountain; teddy; whiteboard; childhood; his own sledge; traffic light; police station;
her last summer; cake for breakfast; a green window; street photography; a goose under the porch; a dark canyon;
wrinkled bone; tents on a hill; amateur calligraphy; brand-new paintbrush; card trick; hard; broken; a cold carrot
with herbs; serious fisherman; queen; as a gift; An eraser of a carpenter; a shy baby; vine; tourist; tax return;
slice of cake; girl; rope; balcony on a hill; fence; petting zoo; stapler hanging on the wall; A finger with a
bandage; a seal in a children's book; bored princess; high resolution; A few bushes; ruined cathedral; a famous
postcard in a museum; rubber stamp; frozen tea; holiday; make it darker; pixel; neon; crooked cemetery; watering can;
pond; a doctor on a bench; goose under the porch; useful tape; orchestra in the park; small plate; on the left side;
phone box; canoe; kitten; bark; mural; clothesline; an old hotel; ink sketch of a horse; castle; cemetery; halftone
dots; windmill in the old town; shop window; Fox at the zoo; judge; a bored butcher; hospital; a wet dog; fisherman;
jeans; wheelbarrow; photograph; wizard; elbow with a bandage; stream; light bulb; a boring receipt; sticker; white;
baker; marble close up; useful axe; crooked shed; a needle in a toolbox; at the bottom; shark at the aquarium; a brown
lizard under a magnifier; pain; cheap fire piled in a yard; window; bamboo; an annual whiteboard for the boss; puppy;
bee; life jacket; cable car; racket; daisy; noisy birthday; peach; a swollen hand; orchestra; omelettes in a lunchbox;
a blossom on the balcony; folder for the boss; A tiny school; gold; an old-fashioned collage from Japan; A cold
tomato; muscle of a newborn; carnival; a local marathon; oil on canvas; mermaid on a rock; expensive watch; sculpture;
street; frame; seagulls far away; in the foreground; bone; competitive golf; drop of blood; dust; app; an engraving on
the wall; best quality; coat of arms; an amateur statue on the wall; important manager; slightly out of focus; tooth;
rock over the fields; a poisonous ladybird under a magnifier; oak in the garden; a peaceful canyon; a mother reading a
letter; an oily stapler; Five skirts; bear on a rock; rabbit hutch; sausage; three knives; boots; rooster; pebble;
waffle with herbs; thistle; curious mouse; a vintage scarf; quiet tower; coat; an annual map on the desk; rough tin;
sweet beer in a lunchbox; crooked; shallow depth of field; wheat; A net on the lawn; tent; hot-air balloon; age;
turtle close to the boat; withered willow; basket; delivery van; a chin of an old man; white hamster; peaceful pond;
electric ruler; cargo ship; website in three copies; camera; black and white photo; stadium; cold tomato; shiny
microphone; weather forecast; staircase; chainsaw; warm handbag; a bored beggar; broom; journalist; smoke; a withered
branch; new; butter; garage; a boring website; A crowded engine; tube of toothpaste; net; pen; cold; ship; local game;
a film on loan; Diamond piled in a yard; charming ornament; a broken bookshelf; nails; a silver bicycle; pram; clover;
our own uniform; some horses; cloud of dust; shop seen from above; sweet chocolate at the picnic; shooting star;
wallpaper at grandma's house; some calligraphy; carpenter; Distant ice; a singer at work; tired baker; broken teddy;
Dead moth; bride in uniform; traffic jam; a misty stream; amateur golf; a white tower; cinematic; circus with friends;
wedding; please help; a leather zip; five brooms; a beautiful puddle; a famous cottage; motion blur; helicopters seen
from behind; volcano; embroidery by an unknown artist; a watercolour by an unknown artist; rock concert; train; muddy
backpack; an amateur pattern; a lonely butterfly; Parties at the village hall; a judge in uniform; backlit; lazy;
chess; digital trailer; pair of gloves; knee; flying saucer; comic strip; smooth cardboard; uncle; A confidential
chart; tulip in the garden; aerial photo; a scientist looking away; a yellow bus; helmet; my own cap; chimney; moss;
an old groom; field; remote beach; broken heart; church; sandwich; three men; drawer; sofa; noodles; bookshelf; goat;
Some icecream; treasure map; young doctor; dance; a fridge at grandma's house; playground in the fog; haunted house;
smile; bracelet; a green root; wolf; a crooked castle; envelopes from last year; a few geese; an annual printer for
the boss; abandoned dam; thanks in advance; stupid; a famous square; tall; screen on loan; rocket; an umbrella on a
hanger; coin from last year; an abandoned trailer; roundabout; well seen from above; Some plastic; a street at dusk;
cabbage; a heavy screwdriver; competitive chess; crate of beer; beggar; maple; a few ants; a silver van; swimming
pool; before dinner; pack of cards; A lonely canyon; a lost telephone; buses on a country road; a hungry dog; three
ceilings; an unforgettable referee; bokeh; perfect; easel; Endless meadow; glacier; some porcelain; eagle at dusk;
embroidery; interview; Tired ear; cloud; low poly game; curtain of the theatre; sticky; wine; deadline; small; oily
hammer; not too dark; pinecone; some fog; wallpaper; birthday card; knitting needles; curtains in morning light;
bakery; floating island; litter box; brave; five cats; swollen muscle; mouth; half finished; acorn; lemon; brick;
bunch of keys; a confidential printer; new year's party; cheap reflection; novel; a wild pond; Chess for beginners;
rock; green bathroom; pirate; A dress in a suitcase; Famous engraving; open; origami; storm over the fields; strong;
foam with scratches; peace march; school trip; boy; a lizard on a leaf; dancer; dog kennel; a leaf in early spring; a
tired student on a bench; milky way; northern; nuclear plant; Cabbages for two people; beautiful; painter; some
butter; a warm bracelet; cap; fire engine; distant lightning seen from the train; dentist's chair; nuts on a white
plate; Sweet cheese; skirt; an annual manager; huge penguin; plane; tower; a chain in a toolbox; A street seen from
above; birthday; tray; sleeping giant; wooden blanket; ultra detailed; fireplaces at grandma's house; flat; armchair;
team photo; ironing board; our first customer; fish tank; meeting; roll of tape; an endless bay; monk; steak on a
white plate; a haunted shed; important letter; a letter for a small company; strange rain; an early puddle; vector
illustration; amateur mural; tattooed neck; sink; unforgettable orchestra; dry; some clover; company logo; an
orchestra in the park; boring whiteboard; collage; for my blog; a small puzzle; a raincoat in the shop window; a
lonely river; calligraphy in a museum; kite in a box; crooked well; owl; storm on a Sunday; app icon; my noodles;
woman; old-fashioned painting; foot; fish; photorealistic; Rug by the window; a cheap lens; a haunted prison by the
sea; nun; a clean jar; socks; macro photography; three trailers; serious photographer; ghost train; crown prince;
spring cleaning; happy; flute; transparent; early in the morning; waffle on a white plate; smooth; bench; art class;
wax; a crooked bakery; sleep; two-headed monster; some moss; secret door; garlic at the picnic; envy; a young uncle
reading a letter; a wave over the fields; rain; modern bathroom; in pairs; A modern windmill; four ferns; knife on a
workbench; school of fish; many chalkboards; octopus; bicycle under a bridge; morning dew; nostalgia; anchor; fashion
shoot; some ladybirds; pear; children's book illustration; three barns; pliers; cruel; clean; five balconies; a
nervous pirate; brain; a window in an empty room; some wood; bread; diamond; tapestry; diagram; prison by the sea;
strange sky; policeman; famous wedding; door; nervous woman; an old balloon; warehouse; plug; Tired postman; noisy
holiday; jam; an old truck in heavy traffic; a tiny frog; whistle; puddle; arctic; ceiling; Young giraffe; a few
planes; a serious farmer; easel about a journey; extension lead; magician; my own deadline; a tiny spring; wild
canyon; clotheslines on the kitchen table; a mosque on a hill; zombie crowd; lamp; steel bridge; foam; at the weekend;
an old door by the sea; keyboard; product photo; palace; professional golf; a field in the far north; waterfall;
temples under construction; distant beach; airport; Pattern from Japan; parcel; pocket; a blue bracelet; a shirt in
the shop window; a colleague on the desk; pigeon; leaf; after work; a library on a hill; paper cutout; stack of
plates; pizza; my own net; ball; early lightning; a bride in uniform; retro; cactus; zebra; angry; violin; ice in
April; cradle; heavy carpet; strawberries; a cabbage with herbs; neighbour on the telephone; a proud plumber; a strong
neck; goose; drill; white background; heat wave; moon; friendly dolphin; a racket in a box; forest; can of beans; a
swing on the lawn; tank; Competitive cycling; blanket; white castle; in a row; four tractors; a tattooed foot;
freckles; old soldier; a tear in close-up; fog; coloring page; kind of sad; soup; Local holiday; a blossom in early
spring; sewing machine; birch; apron; wide; a tired bone; moonlight walk; an old judge; a lion at the zoo;
calligraphy; frozen doughnut; an important salary; puppet show; cupboard; pasta; a few kettles; mosaic; teacher; video
game character; pattern; parade; young; pepper; crab close to the boat; red necklace; a game in the rain; sailor on
the telephone; no watermark; my stairs; a young boy at work; crab with its young; lizard; small teddy; quiet house;
operating theatre; reflection; vase; a hotel on a hill; in the middle of the night; interviews on the desk; storm;
mattresses by the window; engineer; pie; house; mother; a wild leaf; magic wand; teapot; withered reeds; a rabbit on a
leash; truck; spicy wine; high contrast; a sunflower in the garden; calendar; seagull; bowl of soup; goalkeeper;
lavender; A wet rose; an annual budget; canvas; truth; talking tree; garlic; solar eclipse; forgotten battery; sheet
of paper; a tiny street; locomotive; tired brain; cheap; a handmade towel; silk; orchids after the rain; golf;
computer; penalty kick; cloudless sky; dice from my uncle; greeting card; a recycled stone with scratches; tin; a
strange camera; jar; broken tape; some foam; hamster; jazz trumpet player; hinge; a magazine with coffee stains; a
kettle at grandma's house; a tiger at dusk; waiting room; bride; trucks at the station; fern; thread on a workbench;
football pitch; needle; ladybirds on a leaf; shop; once upon a time; secret; A tear in close-up; sweater on a hanger;
some rehearsals; bouquets in early spring; local orchestra; drawers in morning light; curtains; a bone in close-up;
curtain; dresses with big pockets; grandfather; fear; petrol station; map; tiny snake; tiger; a map from last year;
deck chair; wall; a tired scientist; neck; same as before; wind; beautiful hail on a Sunday; suit for a wedding;
beetle; empty; a butcher reading a letter; illness; a poster on the desk; a broken lawnmower in the shed; village
fair; electric hammer; a crooked chimney; invoice; hope; bathtub in morning light; opera singer; budget; an eraser of
a carpenter; magicians looking away; oversized shoes; elegant girl; a lonely stream before the storm; birth; an
oversized swimsuit; closed; calm; referee; thermometer; A banana at the picnic; thunderstorm over the plain; White
donkey; back to front; moth; tango couple; quiet palace; shabby mug; baby reading a letter; for the living room;
coffee machine; willow; flower; very very detailed; a worn helmet; toasters at grandma's house; medal; from behind;
guitar; a young painter; endless cave; urban; boring boxing; cotton; pink; rackets in a box; veil; football;
broken-down scooter; a shy clown; helicopter; bored child; actors on the telephone; grapes; old doormat; waiter in
uniform; steel close up; party; A tasty pizza; ant; frame from the eighties; masterpiece; brown moth; thunder;
magnifier; ornament; bird feeder; a queen in uniform; long animation; grass; crowded submarine; natural light; an old
teacher; transparent background; electrician looking away; strange sky on a Sunday; mustard in a lunchbox; a report in
three copies; car; line drawing; ripple on the pond; a hairdresser waiting for the bus; bridge; rare; role-playing
game map; an annual letter; cake; distant mud; scissors; metallic; pilot; a penguin in tall grass; a dark hill;
Engraving from Japan; a thermometer hanging on the wall; crimson; slide; pearl; a wooden fork; stage; flea market
stall; lost money; cup of tea; three pulleys; coin; a handmade hallway; wristband; a small choir; cheese; crystal in
sunlight; web banner; sleeve; heap of rubble; doll; dragon egg; distant meadow; a sun in April; a cheerful postman;
switch with a red handle; for my mother; old-fashioned landscape; A tram at full speed; scarf; glue; sunflower; long
exposure; five attics; dune; A ruined playground; rowing; snake; skin; a white mattress; theatre; if you can; ballet
lesson; grey mud; A strange easel; a handmade mattress; compass; ruler; an electrician waiting for the bus; handbag in
the shop window; remote forest; lavender in early spring; low angle shot; a distant volcano; a white attic in morning
light; ship at the station; bicycles in the rain; a tired shadow; a urgent warehouse; melon; full body shot; sharp
focus; warm salad; dam; blunt anvil; tired witch; staircase from a flea market; rubber; cooks looking away; lily; oil
painting; confidential poster; a fast wheel; audiences in Vienna; concrete; A cold shrimp; deer; onion; relief; a
thumb of an old man; cook; a green sunflower; some uniforms; a rusty needle on a workbench; balloon; hate; a bowl next
to the bed; shy; old-fashioned crayon; fish market; beach with nobody around; illustration; on a rainy day; porcelain;
bulldozer; cheap wood; a dune in the distance; blossom; duck pond; circus; dice; barn; warm trousers; popcorn; sailor;
marathon; election campaign; manhole cover; woodcut exhibition; bee on a stone; winter coat; rocking chair; a crooked
mosque; bottle; tape with a red handle; handbag; secretary; some wind; a website with coffee stains; Screens about a
journey; busy; charcoal portrait; market; report; double exposure; a tattooed shoulder; switches hanging on the wall;
sunrise; teapots by the window; a beetle on the windowsill; engraving; halloween costume; a forklift in the rain;
rough porcelain; square; medieval playground; raw iron; glass of milk; a passport in three copies; kite; for kids;
cycling after school; a small curtain; radiator; southern; shadow piled in a yard; ticket; a huge owl; proud engineer;
garage sale; comic; painting; piece of string; a sunset over the fields; waffle; pride; playground; a friendly puppy;
jam at the picnic; danger; An organic shrimp in a lunchbox; two birches; kind; a folder in three copies; five
engineers; A turtle at the aquarium; dragonfly; yoga with friends; A palace seen from above; cross stitch pattern;
cycling with friends; newspaper; child; toaster; for a book cover; upside down; A green spider on my sleeve; an
abandoned bus; piano; telephone; nose; spoon; chalkboard; backpack; scooter; full moon; portrait; a dusty bowl; navy;
a proud monk; dry reeds; job interview; puzzle; pencil; some pasta; memory; sacred; A frozen lake in winter; lawyer;
giant; distant cliff; carpet; distant glacier; long fairytale; documentary; tired journalist; swollen skin; beautiful
mud; herd of cows; anger; pig; twig; four prams; youth; folder; drawing; construction site; doorbell; laughter; a
nervous waiter; bicycle; make it funny; side by side; cup; i would like; wild grass; a wild willow; badge on the desk;
two padlocks; a dark glacier; a large vase by the window; Red van; grooms on a bench; some rice; detailed; a withered
sunflower; expensive; tiny; plastic; cracked gold; a desk with coffee stains; an old dam; acorns after the rain;
lawnmower; cute; lunch break; fluffy; a young twig; a little scary; a serious electrician on the telephone; a lemon on
a white plate; oven; heavy; grief; A haunted library; trumpet; dog lead; noisy picnic; nun on a bench; garden hose;
school; ink stain; professional yoga; A tooth of an old man; a handbag that does not fit; a local concert; weak;
framed drawing; kite on the lawn; lost city; album cover; beach; corner shop; wave; a serious pilot; beard; a noisy
party without me; dirt road; coast; watch; our new office; a chain in the shed; my favourite; tiny willow; a distant
rock; wooden; many garages; useful hinge; necklace; belt; tree; White mosque; an anvil of a carpenter; a coin for the
boss; alarm clock; for a small shop; sand; thread; plumber; tear; rocket launch; on a hot afternoon; wallet; moss
after the rain; actor; marble; tongue; cartoon; a dirty thumb; mustard; sparrow; pastel curtains; woollen glasses in
the shop window; Forgotten ruler; notebook; book cover; rabbit; taxi; switch; dirty; thirst; cards on the lawn; fox;
bush; angry deer; as soon as possible; silver wheel; four fish; nuts; bat; board game; white ruin; ladybird; warm
pasta; pedestrian zone; zebra crossing; distant mountain; a urgent letter; oily scissors; a pie on a wooden board; a
shabby vase; small kite; fireworks; studio lighting; knife; a crowded rowboat; wind turbine; salad; many bridges;
brochure from last year; my teapot; skin of an old man; vintage socks; ruined igloo; an elegant skirt; early sky;
pumpkin on a wooden board; boxing; A small tray; surprise; merry-go-round; a shadow of an old man; sandals; factory; a
proud neighbour; hen party; gravel path; new ball; butterfly; Some teapots; a zip in a suitcase; oil tanker; mothers
reading a letter; a swollen moustache; no text; business card; screwdriver; A carrot for breakfast; ancient; singer;
heavy shovel; mistake; a ruined harbour in the fog; wet root; fireplace; street musician; no people; a modern pillow
by the window; Fireworks without me; A star in April; uniform; forklift; sky in April; for our website; mushroom for
two people; a deadline with coffee stains; underwater; sandwich on a white plate; tiny birch; bear; rusty; railway
crossing; crab; A pie at the picnic; A penguin in the fog; a withered twig; a portrait for the living room; extreme
close-up; well; letter; baby; swing for the children; a diagram for the boss; mosaic for the living room; summer camp;
young wheat; audience; town; award-winning photo; a proud doctor; blunt; bolt; four diamonds; a green lamp; a house in
the old town; root; a lost envelope; inside out; prison; love; robot butler; elephant; graffiti; motorcycle; for my
friend; some skiing; autumn leaves; an old doll in a box; space station; choir; student; modern; an old train; an
elegant cashier; black; printer; a bit brighter; an annual logo; justice; something different; sharp; muddy hoodie;
Tiny branch; her old cable; nothing else; from far away; A collar for a wedding; a bee on my sleeve; for a school
project; an elegant policeman; young seal; a fresh pancake from the market; a cave on a clear day; pixel art game;
purses that does not fit; shirt; freedom; our new sweater; battery; a tiny stapler; kangaroo looking at the camera;
young carpenter; dress; neighbour; clown; two wolves; my own design; a king on a bench; dawn on a Sunday; three swans;
an elbow of a newborn; a wheelbarrow on a workbench; bunch of flowers; a wallet on a chair; a teapot by the window;
cross on a hill; a frozen hill; eraser of a carpenter; swing; brown; heavy doormat; ivy; an electric padlock; pile of
books; crystal; a shy sparrow; thread with a red handle; competitive swimming; a tasty sausage; a peaceful stream; a
rake with a red handle; a green oak in the garden; eagle; a grey storm on a Sunday; steel; ceiling from a flea market;
Swing under the bed; strategy; some springs; Some jam; bathtub; spelling mistake; something similar; Our old canoe;
really cool; for the newsletter; a volcano in winter; five aprons; luck; leftover milk; side view; old; court hearing;
tailor; a needle in the shed; desktop background; pencil drawing; boredom; teapot in morning light; mattress; frozen
river; tractor; bee on my sleeve; firefighter; carrot in a lunchbox; grapes at the picnic; sweet cheese; spider;
caricature; tennis court; mouse; amateur basketball on Sunday; Sand in April; hallway; cold pepper; road; a small
racket; a strategy in three copies; man; skateboard; frost; mushroom; golden hour; soup for two people; some
cardboard; a large plate; badge; nails hanging on the wall; early frost; four donkeys; river in the distance; sunset;
shy squirrel; hockey; town hall; market square; sunset over the fields; broken hand; bank robbery; ruined museum; a
charming watercolour; salaries in three copies; a lost bank from last year; candle; ash; hot; ear; pillow; cashier; a
ball in a box; poly bag; dandelion; heavy mattress; medieval hospital; snail; corn; Bored painter; lamp in the corner;
make it bigger; a brand-new stapler of a carpenter; hairy; museum in the fog; ambulance; a prison by the sea; Some
wheels; flat design; thank you very much; green; revolving door; a poem about a journey; war; rake; poster; a comic on
the wall; digital; abstract; a dog under the porch; his own whiteboard; racket from my uncle; oversized glasses; saw;
projector; king; all over the place; forgotten axe; street lamp; a soldier reading a letter; food truck; sketch;
rowboat; muddy umbrella; a wet hen behind a fence; an old balcony; easter breakfast; shoulder; fairytale; secretaries
for the boss; envelope; hotel; popcorn on a wooden board; a father drinking coffee; icecream; photographer; pastel; a
warm belt; an envelope in three copies; chess board
""".strip()
    .replace("\n", " ")
    .split("; ")
)
"""2,000 things and qualities, of which most images show some; frequent ones say little about an adapter"""

BEFORE = (
    "Could you make a picture with the following content for me, please: ",
    "I need a visual for tomorrow's presentation about our quarterly results. It should contain ",
    "yo make me ",
    "Our chess club is looking for a motif for its anniversary flyer. We all agreed on ",
    "My grandfather keeps telling the same story at every dinner, and at the end of it there is always ",
    "Just for fun, and because I'm bored at work: ",
    "Generate a high-resolution illustration of ",
    "Hi, first of all thank you for the last one, everybody adored it! This week I'd like to have ",
    "whats the best way to get an image of ",
    "As the headline image for a blog post on sleeping better, I picture ",
    "i want to send my sister somthing nice becuase she passed her exam, maybe ",
    "Concept for a client in the finance sector, first draft, keep it restrained: ",
)
"""what stands before a prompt"""
AFTER = (
    ", very sharp, professional, 6k, clean composition, photorealistic",
    " high quality, high resolution, detailed background, perfect anatomy, correct proportions",
    ", taken with a 50mm lens from a short tripod at f/8",
    ". Please leave out all lettering.",
    " next to a half-empty mug and a stack of unopened letters, while the washing machine hums in the room behind",
    " #art #digital #cool #new #trend #share #best",
    ", bokeh, backlit, editorial, magazine quality, shot on medium format",
    " but make it cheerful, my mother will have it on her desk",
    " in a bare white studio with a single lamp overhead",
    ", no hands, no faces, not too dark, nothing cropped at the edges",
    " and if it's not too much trouble two versions, one in portrait format and one in landscape",
    "; a woman in a grey coat is checking her phone, two boys argue about a match, and the doors are still shut",
    ", concept design, matte finish, character sheet, turnaround, neutral expression",
    " which our customers would recognise immediately, even from the other end of a large hall",
    " insane details, ambient occlusion, global illumination, subsurface scattering, 32k",
    ", everything a bit crooked and homemade, as though a ten-year-old had arranged it",
)
"""what stands behind one"""
