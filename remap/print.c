/*
 * What libc prints to a descriptor by a write of its own that no table knows: musl's dprintf, glibc's from 2.37 on. And glibc's perror,
 * which prints by a FILE of a number that it made itself as long as nobody has used stderr: our tables don't know it for a stream's. And
 * what glibc writes from where nothing may be allocated: those streams leave before.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "call.h"
#include "sockets/leave.h"
#include "stdio.h"

bool cw_write_all(int fd, const void *bytes, size_t count, size_t *done)
{
	for (*done = 0; *done < count;) {
		ssize_t sent = write(fd, (const char *)bytes + *done, count - *done);

		if (sent < 0)
			return false;
		*done += (size_t)sent;
	}
	return true;
}

/* Also where the thread is cancelled. */
static bool write_and_free(int fd, char *text, size_t count, int *error)
{
	size_t done;
	bool all;

	pthread_cleanup_push(free, text);
	all = cw_write_all(fd, text, count, &done);
	*error = errno;
	pthread_cleanup_pop(1);
	return all;
}

/* length: vasprintf's of text, which it frees; what it sent may be told, so errno is the write's. */
static int print_made(int fd, char *text, int length)
{
	int error;

	if (length < 0)
		return length;
	length = write_and_free(fd, text, (size_t)length, &error) ? length : -1;
	errno = error;
	return length;
}

static int print_as_libc(int fd, char *text, int length)
{
#ifdef __GLIBC__
	return print_made(fd, text, length);
#else /* where it is no cancellation point */
	int before = cw_hold_cancellation();

	length = print_made(fd, text, length);
	cw_release_cancellation(before);
	return length;
#endif
}

static int print(int fd, const char *format, va_list list)
{
	char *text = NULL;
	int length;

	if (!cw_stream_for(fd)) {
		cw_datagram_leave_by(fd, CW_REASON_no_stdio); /* what is long libc writes in parts, each of which is a datagram */
		return cw_real.vdprintf(fd, format, list);
	}
	length = vasprintf(&text, format, list);
	return print_as_libc(fd, text, length);
}

CW_EXPORT int vdprintf(int fd, const char *restrict format, va_list list)
{
	return print(fd, format, list);
}

CW_EXPORT int dprintf(int fd, const char *restrict format, ...)
{
	va_list list;
	int length;

	va_start(list, format);
	length = print(fd, format, list);
	va_end(list);
	return length;
}

#ifdef __GLIBC__
int __vasprintf_chk(char **text, int flag, const char *format, va_list list);
int __vdprintf_chk(int fd, int flag, const char *format, va_list list);
int __dprintf_chk(int fd, int flag, const char *format, ...);

static int print_checked(int fd, int flag, const char *format, va_list list)
{
	char *text = NULL;
	int length;

	if (!cw_stream_for(fd)) {
		cw_datagram_leave_by(fd, CW_REASON_no_stdio);
		return cw_real.__vdprintf_chk(fd, flag, format, list);
	}
	length = __vasprintf_chk(&text, flag, format, list);
	return print_made(fd, text, length);
}

CW_EXPORT int __vdprintf_chk(int fd, int flag, const char *format, va_list list)
{
	return print_checked(fd, flag, format, list);
}

CW_EXPORT int __dprintf_chk(int fd, int flag, const char *format, ...)
{
	va_list list;
	int length;

	va_start(list, format);
	length = print_checked(fd, flag, format, list);
	va_end(list);
	return length;
}

/* stderr stays without orientation, and what is in its buffer stays there, as with libc's. */
CW_EXPORT void perror(const char *what)
{
	int error = errno, fd = fileno(stderr);
	bool named = what && *what;
	char room[1024];

	if (!cw_stream_for(fd) || fwide(stderr, 0)) {
		errno = error;
		cw_real.perror(what);
		return;
	}
	if (dprintf(fd, "%s%s%s\n", named ? what : "", named ? ": " : "", strerror_r(error, room, sizeof(room))) < 0)
		stderr->_flags |= 0x20; /* _IO_ERR_SEEN */
}

static void before_bare_write(int fd)
{
	struct cw_stream *stream = cw_stream_for(fd);

	if (stream)
		cw_leave_sending(stream, fd, CW_REASON_no_stdio);
}

void herror(const char *what);
void backtrace_symbols_fd(void *const *array, int size, int fd);

CW_EXPORT void herror(const char *what)
{
	before_bare_write(STDERR_FILENO);
	cw_real.herror(what);
}

CW_EXPORT void backtrace_symbols_fd(void *const *array, int size, int fd)
{
	before_bare_write(fd);
	cw_real.backtrace_symbols_fd(array, size, fd);
}
#endif
