/* Calls whose bytes are moved by others: by threads inside libc (aio), by the kernel later (io_uring). They know nothing of rings. */
#include "asynchronous.h"

#include <aio.h>
#include <dlfcn.h>
#include <linux/aio_abi.h>

#include "call.h"
#include "raw.h"
#include "sockets/leave.h"
#include "sockets/memory.h"

/* ---- POSIX asynchronous input and output ---- */

/* For good. */
static void leave_reading(int fd)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (stream)
		cw_leave_whole(stream, fd, CW_REASON_asynchronous);
	else
		cw_datagram_leave_to_by(fd, CW_REASON_asynchronous);
}

static void leave_writing(int fd)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (stream && stream->slot)
		cw_leave_sending(stream, fd, CW_REASON_asynchronous);
	else if (stream)
		cw_stream_stays(stream, CW_REASON_asynchronous);
	else
		cw_datagram_leave_to_by(fd, CW_REASON_asynchronous);
}

CW_EXPORT int aio_read(struct aiocb *block)
{
	leave_reading(block->aio_fildes);
	cw_raw_before_notify(&block->aio_sigevent);
	return cw_real.aio_read(block);
}

CW_EXPORT int aio_write(struct aiocb *block)
{
	leave_writing(block->aio_fildes);
	cw_raw_before_notify(&block->aio_sigevent);
	return cw_real.aio_write(block);
}

CW_EXPORT int lio_listio(int mode, struct aiocb *CW_RESTRICT const list[restrict], int count, struct sigevent *restrict event)
{
	for (int i = 0; i < count; i++) {
		if (list[i])
			cw_raw_before_notify(&list[i]->aio_sigevent);
		if (list[i] && list[i]->aio_lio_opcode == LIO_READ)
			leave_reading(list[i]->aio_fildes);
		else if (list[i] && list[i]->aio_lio_opcode == LIO_WRITE)
			leave_writing(list[i]->aio_fildes);
	}
	cw_raw_before_notify(event);
	return cw_real.lio_listio(mode, (struct aiocb *const *)list, count, event);
}

#if defined(__GLIBC__) && __SIZEOF_LONG__ == 8
CW_EXPORT int aio_read64(struct aiocb64 *block)
{
	return aio_read((struct aiocb *)block);
}

CW_EXPORT int aio_write64(struct aiocb64 *block)
{
	return aio_write((struct aiocb *)block);
}

CW_EXPORT int lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *event)
{
	return lio_listio(mode, (struct aiocb *const *)list, count, event);
}
#elif defined(__GLIBC__)
CW_EXPORT int aio_read64(struct aiocb64 *block)
{
	leave_reading(block->aio_fildes);
	cw_raw_before_notify(&block->aio_sigevent);
	return cw_real.aio_read64(block);
}

CW_EXPORT int aio_write64(struct aiocb64 *block)
{
	leave_writing(block->aio_fildes);
	cw_raw_before_notify(&block->aio_sigevent);
	return cw_real.aio_write64(block);
}

CW_EXPORT int lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *event)
{
	for (int i = 0; i < count; i++) {
		if (list[i])
			cw_raw_before_notify(&list[i]->aio_sigevent);
		if (list[i] && list[i]->aio_lio_opcode == LIO_READ)
			leave_reading(list[i]->aio_fildes);
		else if (list[i] && list[i]->aio_lio_opcode == LIO_WRITE)
			leave_writing(list[i]->aio_fildes);
	}
	cw_raw_before_notify(event);
	return cw_real.lio_listio64(mode, list, count, event);
}
#endif

/* ---- the kernel's own, whose requests name their sockets; what becomes of them later is seen by nobody ---- */

void cw_before_submit(struct iocb *const *list, long count)
{
	if (count <= 0 || cw_nowhere(list, 1))
		return;
	for (long i = 0; i < count && !cw_nowhere(list[i], sizeof(*list[i])); i++)
		leave_reading((int)list[i]->aio_fildes);
}

/* ---- io_uring: which sockets it will be given is seen by nobody, so the process goes back to kernel TCP ---- */

int cw_uring_made(int result)
{
	int error = errno;

	if (result >= 0 && !cw_is_plain())
		cw_leave_process(CW_REASON_splice);
	errno = error;
	return result;
}

/* liburing makes the call by an instruction of its own; with a program that has none of it these names are never called. */
static void *of_liburing(const char *name)
{
	cw_ensure_started();
	return dlsym(RTLD_NEXT, name);
}

struct io_uring;
struct io_uring_params;

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *parameters);
int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *parameters, void *memory, size_t size);
int io_uring_setup(unsigned entries, struct io_uring_params *parameters);

CW_EXPORT int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	int (*real)(unsigned, struct io_uring *, unsigned);

	*(void **)&real = of_liburing("io_uring_queue_init");
	return real ? cw_uring_made(real(entries, ring, flags)) : -ENOSYS;
}

CW_EXPORT int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *parameters)
{
	int (*real)(unsigned, struct io_uring *, struct io_uring_params *);

	*(void **)&real = of_liburing("io_uring_queue_init_params");
	return real ? cw_uring_made(real(entries, ring, parameters)) : -ENOSYS;
}

CW_EXPORT int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *parameters, void *memory,
				      size_t size)
{
	int (*real)(unsigned, struct io_uring *, struct io_uring_params *, void *, size_t);

	*(void **)&real = of_liburing("io_uring_queue_init_mem");
	return real ? cw_uring_made(real(entries, ring, parameters, memory, size)) : -ENOSYS;
}

CW_EXPORT int io_uring_setup(unsigned entries, struct io_uring_params *parameters)
{
	int (*real)(unsigned, struct io_uring_params *);

	*(void **)&real = of_liburing("io_uring_setup");
	return real ? cw_uring_made(real(entries, parameters)) : -ENOSYS;
}
