"""Prompts completed with words of captions, and controls: `python studies/complete.py 200` in a finished demo's root.

Results are in docs/LOG.md (2026-12-02). A study that has ended: the next commit removes it. One thread, 25 minutes.
"""

import os,sys,time,re,json
os.environ["OMP_NUM_THREADS"]="1"
import numpy as np, torch
torch.set_num_threads(1)
from dataclasses import replace
from pathlib import Path
from autolora.fusion.rules import Adapter
from autolora.fusion.rules.direct import Direct
from autolora.generation.images import Generator, add_trigger_words, generate_images
from autolora.dataset.store import rows
from autolora.metrics.classifier import classify
from autolora.metrics.clip import image_features, text_features
from autolora.metrics.judges import load_judges
from autolora.metrics.judgments import read_judgments
from autolora.matching.phrases import distinctive_phrase, word_shares
from autolora.encoder.everyday import EVERYDAY_PHRASES
from autolora.params import load
from autolora.search.retriever import open_retriever
from bench.end_to_end import draw_cases
from bench.selection_cases import make_cases
from bench.language.prompts import read_contexts
from playground.world import COLOURS, BACKGROUNDS
N=int(sys.argv[1]); OUT=Path("cache/complete"); OUT.mkdir(parents=True,exist_ok=True); ONLY=sys.argv[2:]
root=Path(".").absolute(); params=load(root/"params.yaml"); params=replace(params,models=replace(params.models,threads=1))
judgments=read_judgments(root/params.evaluation.themes)
r=open_retriever(root)
indexed=[judgments[x["sha256"]] for x in r.index.rows if x["sha256"] in judgments]
cases=draw_cases(make_cases(indexed),200)[:N]
gen=Generator(root,params.models,params.pool); judges=load_judges(params.judges,params.models)
caps={}; pic={}
for x in rows(root,"renderings",("adapter","image")): pic.setdefault(x["adapter"],[]).append(x["image"])
bytext={}
for x in rows(root,"captions",("image","length","text")): bytext.setdefault(x["image"],{})[x["length"]]=x["text"]
def captions(sha,length="medium"): return [bytext[i][length] for i in sorted(pic.get(sha,())) if i in bytext]
shares={sha:word_shares(captions(sha)) for sha in pic}
def phrase(sha):
    others=word_shares([c for o in pic if o!=sha for c in captions(o)])
    return distinctive_phrase(captions(sha),others)
phrases={}
ALL=[(sha,c) for sha in sorted(pic) for c in captions(sha)]
col=re.compile(r"\b("+"|".join(COLOURS)+r")\b ?")
places=sorted({m for _,c in ALL for m in re.findall(r"((?:on|at|in|under|against|over|before|by) (?:the |a |an )?[a-z ]+?)(?= in [a-z ]*style| as |$|,)",c)})
json.dump(places,open(OUT/"places.json","w"))
rng=np.random.default_rng(0)
def split(prompt): 
    head,tail=prompt.split(" in ",1); return head,tail
def own(pair,word):
    k=[c for c in captions(pair[0].sha256) if word in c.split() or word in c]
    return k
def a(word): return ("an " if word[0] in "aeiou" else "a ")+word
CTX=read_contexts()
def colors_of(pair,word):
    return [m.group(1) for c in captions(pair[0].sha256) if (m:=col.search(c))]
SCENE=list(BACKGROUNDS)
def place_of(c,word):
    """place phrase behind the object in a caption"""
    m=re.search(re.escape(word)+r"(?: stands| sits| is)?,? ((?:on|at|in|under|against|over|by|before) .*)$",c)
    if not m: return None
    p=re.sub(r",? (?:in [a-z ]*style.*|in rough.*|in negative.*|in neg.*|as .*|drawn.*|of .*|with .*|made.*)$","",m.group(1)); return p if not p.endswith("style") else None
def forms(name,prompt,pair,themes,seeds):
    head,tail=split(prompt); word=themes[0]; res=[]
    known=own(pair,word) or [head]
    for seed in seeds:
        c=known[seed%len(known)]
        if name=="bare": t=prompt
        elif name=="caption": t=f"{c} in {tail}"
        elif name=="caption, no color or place":
            i=c.find(word); t=f"{col.sub('',c[:i+len(word)])} in {tail}" if i>=0 and place_first(c)==False else f"a drawing of {a(word)} in {tail}"
            t=re.sub(r"\ban (?=[^aeiou])","a ",t)
        elif name=="own color":
            cs=colors_of(pair,word) or ["red"]; t=f"{a(cs[seed%len(cs)])} {word} in {tail}"
        elif name=="own place":
            ps=[p for k in known if (p:=place_of(k,word))] or ["on sand"]; t=f"{head} {ps[seed%len(ps)]} in {tail}"
        elif name=="random color":
            t=f"{a(list(COLOURS)[(hash3(prompt)+seed)%len(COLOURS)])} {word} in {tail}"
        elif name=="random color and place":
            t=f"a drawing of {a(list(COLOURS)[(hash3(prompt)+seed)%len(COLOURS)])} {word} {RPLACES[(hash3(prompt)//7+seed)%len(RPLACES)]} in {tail}"
        elif name=="placebo, other's caption with this object":
            o=OTHER[pair[0].sha256]; ks=[(k,w) for sha,w in o for k in captions(sha) if w in k]; k,w=ks[(hash3(prompt)+seed)%len(ks)]
            t=re.sub(r"\ban? (?=(?:\w+ )?"+word+")",lambda m:m.group(),k.replace(w,word))+f" in {tail}"
        elif name=="placebo, other's caption before":
            o=OTHER[pair[0].sha256]; ks=[k for sha,w in o for k in captions(sha)]; t=f"{ks[(hash3(prompt)+seed)%len(ks)]}, {prompt}"
        elif name=="own caption before": t=f"{c}, {prompt}"
        elif name=="caption without object": t=f"{re.sub(r' +',' ',c.replace(word,''))} in {tail}"
        elif name=="everyday words":
            k=max(1,len(c.split())-len(head.split())); e=[w for p in EVERYDAY_PHRASES[(hash3(prompt)*13+seed*97)%(len(EVERYDAY_PHRASES)-20):][:20] for w in p.split()][:k]; t=f"{' '.join(e)}, {prompt}"
        elif name=="phrases":
            for h in pair:
                if h.sha256 not in phrases: phrases[h.sha256]=phrase(h.sha256)
            o,s=(phrases[h.sha256] for h in pair); t=f"{a(o) if o else head} in {s or tail}" if "style" not in (s or "") else f"{a(o) if o else head} in {s}"
        elif name=="phrase of the style": 
            s=phrases.setdefault(pair[1].sha256,phrase(pair[1].sha256)); t=f"{head} in {s or tail}" 
        elif name.startswith("bare, "): t=CTX[name.split(", ")[1]](prompt)
        elif name.startswith("caption, "): t=CTX[name.split(", ")[1]](f"{c} in {tail}")
        else: raise SystemExit(name)
        res.append(t)
    return res
def hash3(text): 
    import hashlib; return int(hashlib.sha256(text.encode()).hexdigest()[:6],16)
def place_first(c): return bool(re.match(r"(on|at|in|under|against|over|by|before) ",c))
data=[]
for n,case in enumerate(cases):
    hits=r.select(case.prompt); kinds={judgments[h.sha256].kind:h for h in hits if h.sha256 in judgments}
    if not {"object","style"}<=set(kinds): continue
    pair=[kinds["object"],kinds["style"]]
    data.append((case,pair,[gen.load_lora(h.sha256) for h in pair],[judgments[h.sha256].theme for h in pair]))
objs={}
for x in r.index.rows:
    j=judgments.get(x["sha256"])
    if j and j.kind=="object" and captions(x["sha256"]): objs.setdefault(j.theme,[]).append(x["sha256"])
OTHER={}
for case,pair,_,themes in data: OTHER[pair[0].sha256]=[(sha,t) for t,l in objs.items() if t!=themes[0] for sha in l]
RPLACES=[]
for sha,c in ALL:
    for t in objs:
        if t in c and (p:=place_of(c,t)): RPLACES.append(p)
RPLACES=sorted(set(RPLACES)); print(len(data),len(RPLACES),RPLACES[:12],list(CTX)[:30],flush=True)
NAMES=["bare","caption","caption, no color or place","own color","own place","random color","random color and place","placebo, other's caption with this object","own caption before","placebo, other's caption before","caption without object","everyday words","phrases","bare, 20","caption, 20","bare, 60","caption, 60"]
seeds=list(range(4)); settings=replace(params.generation,batch=4)
prompts_feat=text_features(judges.clip,[d[0].prompt for d in data])
for name in ONLY or NAMES:
    path=OUT/f"{name.replace(' ','_').replace(',','').replace(chr(39),'')}.npz"
    if path.exists(): continue
    t0=time.time(); images=[]; texts=[]
    for case,pair,loras,themes in data:
        ts=forms(name,case.prompt,pair,themes,seeds); texts+=ts
        full=[add_trigger_words(t,pair) for t in ts]
        with Direct().attach(gen.pipeline,[Adapter(str(i),l) for i,l in enumerate(loras)]):
            images+=generate_images(gen.pipeline,full,seeds,settings)
    found=classify(judges.classifier,images); rep=np.repeat(np.arange(len(data)),4)
    o=np.array([float(x==data[i][3][0]) for x,i in zip(found["object"],rep)]); s=np.array([float(x==data[i][3][1]) for x,i in zip(found["style"],rep)])
    sim=(image_features(judges.clip,images)*prompts_feat[rep]).sum(1)
    np.savez(path,object=o,style=s,sim=sim,colour=found["colour"],background=found["background"],texts=texts,prompt=rep,words=[len(t.split()) for t in texts],pixels=np.stack([np.asarray(i) for i in images[:160]]))
    print(f"{name:45} both {np.mean(o*s):.3f} object {o.mean():.3f} style {s.mean():.3f} sim {sim.mean():.3f} {time.time()-t0:.0f}s  e.g. {texts[0]!r} | {texts[5]!r}",flush=True)
