/* What both parts of layer 3's assembler know: where it stands in struct cw_raw_thread (raw_inside.h), and places whose names raw_signals.c
 * and raw_direct.c go by. The assembler's lines are not C's: the formatter would join them. */
#define OWN_FS     104
#define PROGRAM_FS 112
#define CALL       120

/* clang-format off */
.macro place name
.globl \name
.hidden \name
\name :
.endm
