"""The passes, in their order: simplify, dead code, chains, regroup; then emit writes, fuses and reuses memory."""
