"""Paired differences of the forms of studies/complete.py, by halves of the objects."""

import numpy as np, glob
L={}
for f in glob.glob("cache/complete/*.npz"):
    with np.load(f) as t: L[f.split("/")[-1][:-4]]={k:t[k] for k in ("object","style","sim","prompt","texts","colour","background")}
b=L["bare"]; P=b["prompt"].max()+1
both=lambda t:(t["object"]*t["style"]).reshape(P,-1).mean(1)
texts=[str(x) for x in b["texts"].reshape(P,-1)[:,0]]; objs=sorted({t.split(" in ")[0] for t in texts}); A=np.array([t.split(" in ")[0] in objs[::2] for t in texts])
print(objs[::2],A.sum(),P)
rng=np.random.default_rng(0)
def ci(x):
    m=x[rng.integers(0,len(x),(4000,len(x)))].mean(1); return f"{x.mean():+.3f} [{np.quantile(m,.025):+.2f}, {np.quantile(m,.975):+.2f}]"
for n,t in sorted(L.items(), key=lambda x:-both(x[1]).mean()):
    d=both(t)-both(b)
    import collections
    cols=t["colour"].reshape(P,-1)
    same=np.mean([any(str(c) in str(x).split() for x in [tx]) for c,tx in zip(t["colour"],t["texts"])])
    print(f"{n:45} {both(t).mean():.3f} A {both(t)[A].mean():.3f} B {both(t)[~A].mean():.3f} all {ci(d)} A {ci(d[A])} B {ci(d[~A])} sim {ci(t['sim'].reshape(P,-1).mean(1)-b['sim'].reshape(P,-1).mean(1))} colour named and shown {same:.2f}")
