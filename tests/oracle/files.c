/* FILE streams on sockets, call by call: what is buffered when, what is said to whom. */
#define FAMILY "stdio"
#include "files.h"

#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <wchar.h>
#ifdef __GLIBC__
#include <execinfo.h>
#endif

SCENARIO(wide_characters, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");
	wchar_t line[32] = L"";

	say("wide %d", fwide(in, 1) > 0);
	CALL(fputws(L"wide text\nmore\n", out));
	CALL(fputwc(L'!', out));
	CALL(fflush(out));
	mirror(e, 16);
	CALL(getwc(in));
	CALL(ungetwc(L'W', in));
	CALL(fgetws(line, 32, in) != NULL);
	say("  %ls", line);
	CALL(fgetws(line, 4, in) != NULL);
	say("  %ls", line);
	CALL(fgetwc(in));
	CALL(fgetwc(in));
	CALL(fgetwc(in));
	peer_shutdown(e, SHUT_WR);
	CALL(fgetwc(in) == WEOF);
	tell(in);
	CALL(fclose(in));
	CALL(fclose(out));
}

SCENARIO(unlocked, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");
	char text[64] = "";

	for (int i = 0; i < 10; i++)
		putc_unlocked('a' + i, out);
	CALL(fwrite_unlocked("0123456789\n", 1, 11, out));
	CALL(fputs_unlocked("end\n", out));
	CALL(fflush_unlocked(out));
	mirror(e, 25);
	CALL(getc_unlocked(in));
	CALL(fread_unlocked(text, 1, 5, in));
	say("  %s", text);
	CALL(fgets_unlocked(text, sizeof(text), in) != NULL);
	say("  %s", text);
	say("  %d %d", feof_unlocked(in), ferror_unlocked(in));
	clearerr_unlocked(in);
	CALL(fclose(in));
	CALL(fclose(out));
}

SCENARIO(reopened, 0)
{
	FILE *file = fdopen(e->fd, "r+");
	int number = e->fd;

	fputs("before", file);
	say("reopened %d", freopen("/dev/null", "r+", file) == file);
	say("same number %d", fileno(file) == number);
	CALL(getc(file));
	tell(file);
	CALL(recv(number, room, 10, 0));
	/* The socket is closed, so the peer has all, and the end. */
	char text[64] = "";

	quietly();
	peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = 6});
	peer_recv(e, 10, 0);
	say("%s", text);
	CALL(fclose(file));
	int next = (int)MUST(open("/dev/null", O_RDONLY));

	CALL(read(next, room, 10));
}

SCENARIO(reopened_with_no_name, 0)
{
	FILE *file = fdopen(dup(e->fd), "w");

	fputs("one", file);
	file = freopen(NULL, "a", file);
	say("%d", file != NULL);
	if (file) {
		CALL(fputs("two", file));
		CALL(fclose(file));
		echo(e, 6);
	} else {
		/* The number may be another file's now. */
		int next = (int)MUST(open("/dev/null", O_RDWR));

		CALL(write(next, "more", 4));
		CALL(read(next, room, 4));
		CALL(close(next));
		echo(e, 3);
	}
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_pending(e);
}

SCENARIO(command_reads, ALONE)
{
	char command[128], text[64] = "";

	for (int i = 0; i < 2; i++) {
		bring(e, "for the command\n");
		snprintf(command, sizeof(command), "head -c 16 <&%d", e->fd);
		FILE *from = popen(command, i ? "re" : "r");

		say("  %s", fgets(text, sizeof(text), from) ? text : "nothing");
		CALL(pclose(from));
	}
	bring(e, "for us\n");
	CALL(recv(e->fd, text, 7, 0));
}

SCENARIO(command_writes, ALONE)
{
	char command[128];

	for (int i = 0; i < 2; i++) {
		snprintf(command, sizeof(command), "cat >&%d", e->fd);
		FILE *to = popen(command, i ? "we" : "w");

		CALL(fputs("by the command\n", to));
		CALL(pclose(to));
		echo(e, 15);
	}
	SEND(e, 10, send(e->fd, room, 10, 0));
	char bytes[16];

	mirror(e, 10);
	CALL(recv(e->fd, bytes, 16, 0));
}

static int print_list(int fd, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	int result = vdprintf(fd, format, list);

	va_end(list);
	return result;
}

SCENARIO(printed_to_a_descriptor, 0)
{
	CALL(dprintf(e->fd, "%s %d", "number", 7));
	CALL(dprintf(e->fd, "%s", ""));
	CALL(print_list(e->fd, "%c%5.2f|%-4s|", '<', 3.14159, "x"));
	echo(e, 20);
	later(1);
	peer_records(e, 200, 1000);
	memset(room, 'x', 200000);
	room[200000] = 0;
	CALL(dprintf(e->fd, "%s", (char *)room));
	CALL(shutdown(e->fd, SHUT_WR));
	peer_wait();
	signal(SIGPIPE, SIG_IGN);
	CALL(dprintf(e->fd, "late"));
}

#ifdef __GLIBC__
/* What libc writes by itself, behind what is in the ring. */
SCENARIO(written_from_below, ALONE)
{
	void *here[1] = {NULL};
	int errors = (int)MUST(dup(STDERR_FILENO));

	for (int i = 0; i < 3; i++) {
		CALL(send(e->fd, "before ", 7, 0));
		backtrace_symbols_fd(here, 1, e->fd);
		CALL(send(e->fd, "between ", 8, 0));
		dup2(e->fd, STDERR_FILENO);
		h_errno = HOST_NOT_FOUND;
		herror("host");
		dup2(errors, STDERR_FILENO);
		CALL(send(e->fd, "behind ", 7, 0));
		echo(e, 7 + 6 + 8 + 19 + 7);
	}
	close(errors);
}
#endif

SCENARIO(modes, 0)
{
	static const char *const modes[] = {"r", "w", "a", "r+", "w+", "a+", "rb", "wb+", "re", "rc", "q", ""};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int twin = dup(e->fd);
		FILE *file = fdopen(twin, modes[i]);

		say("mode %s: %d %s", modes[i], file != NULL, file ? "" : strerrorname_np(errno));
		if (!file) {
			close(twin);
			continue;
		}
		say("  close on exec %d", fcntl(twin, F_GETFD));
		say("  append %d", !!(fcntl(twin, F_GETFL) & O_APPEND));
		fcntl(twin, F_SETFL, O_RDWR);
		if (modes[i][0] == 'r' && !strchr(modes[i], '+')) {
			CALL(fputc('x', file));
			say("  %s", strerrorname_np(errno));
			CALL(fflush(file));
		} else if (!strchr(modes[i], '+')) {
			CALL(fgetc(file));
			say("  %s", strerrorname_np(errno));
		}
		tell(file);
		CALL(fclose(file));
	}
	CALL(fdopen(1000, "r") != NULL);
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

static void buffered(struct end *e, FILE *out, const char *what)
{
	say("%s", what);
	for (int i = 0; i < 5; i++) {
		fprintf(out, "abc%s", i == 2 ? "\n" : "");
		rest();
		say("  pending %zu", __fpending(out));
		peer_pending(e);
	}
	CALL(fflush(out));
	echo(e, 16);
}

SCENARIO(buffers, 0)
{
	FILE *out = fdopen(dup(e->fd), "w");
	static char small[10], large[5000];

	buffered(e, out, "as it comes");
	CALL(setvbuf(out, NULL, _IONBF, 0));
	buffered(e, out, "none");
	fclose(out);
	out = fdopen(dup(e->fd), "w");
	CALL(setvbuf(out, NULL, _IOLBF, 0));
	buffered(e, out, "lines");
	fclose(out);
	out = fdopen(dup(e->fd), "w");
	CALL(setvbuf(out, small, _IOFBF, sizeof(small)));
	buffered(e, out, "ten bytes");
	fclose(out);
	out = fdopen(dup(e->fd), "w");
	setbuffer(out, large, sizeof(large));
	buffered(e, out, "five thousand");
	setlinebuf(out);
	fputs("x\ny", out);
	rest();
	peer_pending(e);
	__fpurge(out);
	CALL(fclose(out));
	echo(e, 2);
}

static ssize_t cookie_read(void *cookie, char *bytes, size_t count)
{
	memset(bytes, 'c', count);
	return (ssize_t)count;
}

/* Streams on nothing of the kernel's, beside a moved one. */
SCENARIO(of_memory, 0)
{
	char memory[16] = "0123456789", *made = NULL;
	size_t size = 0;
	FILE *one = fmemopen(memory, 10, "r+"), *two = open_memstream(&made, &size);
	FILE *three = fopencookie(NULL, "r", (cookie_io_functions_t){.read = cookie_read});

	say("numbers %d %d %d", fileno(one), fileno(two), fileno(three));
	CALL(getc(one));
	CALL(fseek(one, 5, SEEK_SET));
	CALL(getc(one));
	CALL(fputs("memory", two));
	CALL(fflush(two));
	say("%s %zu", made, size);
	CALL(getc(three));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	CALL(fclose(one));
	CALL(fclose(two));
	CALL(fclose(three));
	free(made);
}

SCENARIO(pushed_back, 0)
{
	FILE *in = fdopen(e->fd, "r");
	char text[32] = "";

	CALL(ungetc('z', in));
	bring(e, "abcdef\n");
	CALL(getc(in));
	CALL(getc(in));
	CALL(ungetc('A', in));
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	peer_shutdown(e, SHUT_WR);
	CALL(getc(in));
	tell(in);
	CALL(ungetc('x', in));
	tell(in);
	CALL(getc(in));
	CALL(getc(in));
	tell(in);
}

SCENARIO(delimited, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");
	char *line = NULL;
	size_t capacity = 0;

	fputs("a;bb;", out);
	for (int i = 0; i < 20000; i++)
		putc('l', out);
	fputs("\nunfinished", out);
	CALL(fflush(out));
	mirror(e, 20016);
	peer_shutdown(e, SHUT_WR);
	CALL(getdelim(&line, &capacity, ';', in));
	CALL(getdelim(&line, &capacity, ';', in));
	CALL(getline(&line, &capacity, in));
	CALL(getline(&line, &capacity, in));
	say("  %s", line);
	tell(in);
	CALL(getline(&line, &capacity, in));
	tell(in);
	free(line);
	CALL(fclose(in));
	CALL(fclose(out));
}

SCENARIO(large_items, 0)
{
	FILE *out = fdopen(dup(e->fd), "w"), *in = fdopen(e->fd, "r");

	fill(e, room, 600000);
	later(1);
	peer_recv_all(e, 600000);
	CALL(fwrite(room, 60000, 10, out));
	CALL(fflush(out));
	peer_wait();
	gave(e, 600000);
	later(1);
	peer_send_all(e, 300001);
	CALL(fread(room, 1000, 300, in));
	took(e, room, 300000);
	peer_wait();
	CALL(getc(in) == content(1, e->taken));
	e->taken++;
	peer_send_all(e, 700);
	peer_shutdown(e, SHUT_WR);
	CALL(fread(room, 500, 2, in));
	took(e, room, 700);
	tell(in);
	CALL(fwrite(room, 0, 5, out));
	CALL(fread(room, 5, 0, in));
}
