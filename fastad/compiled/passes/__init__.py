"""The passes, in their order: simplify, dead code, chains, regroup, fuse; then emit writes the program's tables."""
