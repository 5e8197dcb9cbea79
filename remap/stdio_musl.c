/*
 * musl's FILE streams. It has no tables of functions: each FILE holds its own three, which libc sets when it makes one of a descriptor.
 * Those of a stream are replaced there, after checking that the FILE looks as in the musl we know (1.1 to 1.2.5); if it doesn't, or if libc
 * keeps other functions there (stdout's first), the stream goes back to kernel TCP before stdio has it.
 */
#include "stdio.h"

#include "call.h"

#ifndef __GLIBC__

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include "sockets/leave.h"

#define END_SEEN   16u
#define ERROR_SEEN 32u

/* The beginning of struct _IO_FILE. */
struct file {
	unsigned flags;
	unsigned char *read_at, *read_end;
	int (*close)(struct file *);
	unsigned char *write_end, *write_at;
	unsigned char *unused;
	unsigned char *write_base;
	size_t (*read)(struct file *, unsigned char *, size_t);
	size_t (*write)(struct file *, const unsigned char *, size_t);
	off_t (*seek)(struct file *, off_t, int);
	unsigned char *buffer;
	size_t room;
	struct file *before, *next;
	int fd;
};

/* The FILE is locked, and who is cancelled would keep it so: musl's own functions are no cancellation points. */
static ssize_t fill(const struct file *file, const struct iovec parts[2])
{
	int before = cw_hold_cancellation();
	ssize_t got = parts[0].iov_len ? readv(file->fd, parts, 2) : read(file->fd, file->buffer, file->room);

	cw_release_cancellation(before);
	return got;
}

/* Into the caller's memory, and what comes beyond it into the buffer; the buffer's first byte is the caller's last. */
static size_t read_file(struct file *file, unsigned char *bytes, size_t count)
{
	struct iovec parts[2] = {{bytes, count - !!file->room}, {file->buffer, file->room}};
	ssize_t got = fill(file, parts);

	if (got <= 0) {
		file->flags |= got ? ERROR_SEEN : END_SEEN;
		return 0;
	}
	if ((size_t)got <= parts[0].iov_len)
		return (size_t)got;
	file->read_at = file->buffer;
	file->read_end = file->buffer + ((size_t)got - parts[0].iov_len);
	if (file->room)
		bytes[count - 1] = *file->read_at++;
	return count;
}

/* What is in the buffer, then the caller's bytes; the result counts the caller's alone. */
static size_t write_file(struct file *file, const unsigned char *bytes, size_t count)
{
	size_t waiting = (size_t)(file->write_at - file->write_base), done = 0, sent;
	int before = cw_hold_cancellation();
	bool all = cw_write_all(file->fd, file->write_base, waiting, &sent) && cw_write_all(file->fd, bytes, count, &done);

	cw_release_cancellation(before);
	if (all) {
		file->write_end = file->buffer + file->room;
		file->write_at = file->write_base = file->buffer;
		return count;
	}
	file->write_at = file->write_base = file->write_end = NULL;
	file->flags |= ERROR_SEEN;
	return done;
}

static int close_file(struct file *file)
{
	int before = cw_hold_cancellation(), result = close(file->fd);

	cw_release_cancellation(before);
	return result;
}

static bool is_libcs(void *function)
{
	Dl_info one, other;

	return function && dladdr(function, &one) && dladdr((void *)cw_real.fdopen, &other) && one.dli_fbase == other.dli_fbase;
}

static bool is_known(const struct file *file, int fd)
{
	return file->fd == fd && is_libcs((void *)file->close) && is_libcs((void *)file->read) && is_libcs((void *)file->write) &&
	       is_libcs((void *)file->seek);
}

bool cw_stdio_start(void)
{
	return true;
}

static void leave(int fd)
{
	struct cw_stream *stream = cw_stream_of(fd);

	if (stream)
		cw_leave_whole(stream, fd, CW_REASON_no_stdio);
	else
		cw_datagram_leave_by(fd, CW_REASON_no_stdio);
}

void cw_stdio_given(int fd)
{
	if ((unsigned)fd <= STDERR_FILENO)
		leave(fd);
}

CW_EXPORT FILE *fdopen(int fd, const char *mode)
{
	FILE *made;
	struct file *file;

	cw_ensure_started();
	made = cw_real.fdopen(fd, mode);
	file = (struct file *)made;
	if (!made || !cw_table_get(fd))
		return made;
	if (!is_known(file, fd)) {
		leave(fd);
		return made;
	}
	file->read = read_file;
	file->write = write_file;
	file->close = close_file;
	return made;
}

#endif
