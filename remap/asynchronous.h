/* io_uring: whoever makes a ring has it looked at here. */
#ifndef CW_REMAP_ASYNCHRONOUS_H
#define CW_REMAP_ASYNCHRONOUS_H

/* result: of io_uring_setup(2), or of a function that stands for it. Returns it. */
int cw_uring_made(int result);

#endif
