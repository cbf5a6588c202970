"""The passes, in their order: simplify, dead code, chains, regroup; then emit writes tables, fuses and reuses memory."""
