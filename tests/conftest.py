import os

# Tiny tensors gain nothing from threads, and lose much when tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
