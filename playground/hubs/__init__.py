"""The three APIs of the playground's hub, over one pool, and the faults that can be ordered of them."""
