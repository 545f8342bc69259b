"""Media in, vectors out; a query in, hits out."""

import os

# Threads of torch and FAISS that spin while they wait make both ten times slower beside any other busy
# process (docs/decisions/0004). OpenMP reads this once, when it is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
