/* How things are printed: names for numbers that differ between machines, one write a line. */
#include "oracle.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

void say(const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(3);
}

unsigned complaints;

void complain(const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	complaints++;
	say("%s", line);
}

const char *show_result(long result, int error, char text[48])
{
	const char *name = strerrorname_np(error);

	if (result >= 0)
		snprintf(text, 48, "%ld", result);
	else
		snprintf(text, 48, "%ld %s", result, name ? name : "?");
	return text;
}

static const char *show_mask(unsigned mask, const char *const names[], const unsigned bits[], char text[96])
{
	size_t at = 0;

	text[0] = 0;
	for (size_t i = 0; names[i]; i++) {
		if (mask & bits[i])
			at += (size_t)snprintf(text + at, 96 - at, "%s%s", at ? "|" : "", names[i]);
		mask &= ~bits[i];
	}
	if (mask)
		snprintf(text + at, 96 - at, "%s%#x", at ? "|" : "", mask);
	else if (!at)
		strcpy(text, "0");
	return text;
}

const char *show_poll(unsigned mask, char text[96])
{
	static const char *const names[] = {"IN",     "PRI",    "OUT",    "ERR",    "HUP",   "NVAL",
					    "RDNORM", "RDBAND", "WRNORM", "WRBAND", "RDHUP", NULL};
	static const unsigned bits[] = {POLLIN,     POLLPRI,    POLLOUT,    POLLERR,    POLLHUP,  POLLNVAL,
					POLLRDNORM, POLLRDBAND, POLLWRNORM, POLLWRBAND, POLLRDHUP};

	return show_mask(mask, names, bits, text);
}

const char *show_epoll(unsigned mask, char text[96])
{
	static const char *const names[] = {"IN", "PRI", "OUT", "ERR", "HUP", "RDNORM", "RDBAND", "WRNORM", "WRBAND", "RDHUP", NULL};
	static const unsigned bits[] = {EPOLLIN,     EPOLLPRI,    EPOLLOUT,    EPOLLERR,    EPOLLHUP,
					EPOLLRDNORM, EPOLLRDBAND, EPOLLWRNORM, EPOLLWRBAND, EPOLLRDHUP};

	return show_mask(mask, names, bits, text);
}

void give_up(const char *what, const char *file, int line)
{
	say("GAVE UP at %s:%d: %s: %s", file, line, what, RESULT(-1));
	exit(2);
}
