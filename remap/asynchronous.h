/* Calls by which the kernel moves bytes, or looks for them, later. */
#ifndef CW_REMAP_ASYNCHRONOUS_H
#define CW_REMAP_ASYNCHRONOUS_H

/* result: of io_uring_setup(2), or of a function that stands for it. Returns it. */
int cw_uring_made(int result);

struct iocb;
/* Before io_submit(2): the sockets that it names leave for good. */
void cw_before_submit(struct iocb *const *list, long count);

#endif
