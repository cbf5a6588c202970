/* The instructions of compiled functions, as the passes write them and the executor reads them. */
#ifndef FASTAD_INSTRUCTION_H
#define FASTAD_INSTRUCTION_H
#include <stdint.h>

#define RUN_STRIP 512  /* slots of a strip: what a run works on stays in the first-level cache */
#define HANDED_ON -1
#define FA_MOST ((int64_t)1 << 40)    /* slots, and entries of a table */
#define FA_BEYOND ((int64_t)1 << 52)  /* farther than any slot */

enum fa_kind { K_SCALARS, K_RUN, K_LINE, K_MAP, K_ADD, K_FILL, K_CHAIN, K_MATMUL, K_GATHER, K_CALL, K_COPY, K_SUM };

typedef struct {
    int64_t n, v, a, b;    /* how many elements; slots of the result and the operands, b -1: one operand */
    int64_t ia, ib;        /* where the pool holds the slots of an operand that is no line; -1: it is one */
    int64_t first, count;  /* of a run or a chain; `first` also: entry of the pool (of a line: the blocks of a, then of
                              b) or of the calls; `count` of a line: its lag */
    int32_t kind, op;
    int32_t av, aa, ab;    /* whether result and operands go on from strip to strip; 2: an operand in blocks, see
                              read_blocks; the result of a line from 2 on: it is in the region av - 2. HANDED_ON: the
                              result of a line goes to the next one alone, as the operand that says so, too */
    int32_t ra, rb;        /* whether an operand is read where the caller has it: number of the region, or -1 */
    int32_t history;       /* of a line whose result is a strip: how many numbers before it are kept */
} fa_instruction;

#endif
