/* FILE streams on sockets: how they end and fail, who else has the descriptor, and who waits. */
#define FAMILY "stdio"
#include "files.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/time.h>
#include <wchar.h>

SCENARIO(closed_with_unwritten, 0)
{
	FILE *out = fdopen(dup(e->fd), "w");

	fputs("kept until now", out);
	CALL(fclose(out));
	echo(e, 14);
	out = fdopen(dup(e->fd), "w");
	fputs("never told", out);
	peer_reset(e);
	rest();
	signal(SIGPIPE, SIG_IGN);
	CALL(fclose(out));
	CALL(recv(e->fd, room, 10, 0));
}

/* In the FILE's buffer it is read; in the socket's it is not, and the peer is told. */
SCENARIO(closed_with_unread, UNOPENED)
{
	for (int i = 0; i < 2; i++) {
		open_end(e, AF_INET, false);
		FILE *in = fdopen(e->fd, "r");

		bring(e, "some\nlines\n");
		CALL(getc(in));
		if (i) {
			peer_send(e, 100);
			arrive(e, 100);
		}
		CALL(fclose(in));
		rest();
		peer_recv(e, 10, 0);
		peer_recv(e, 10, 0);
	}
}

SCENARIO(at_the_end, 0)
{
	FILE *in = fdopen(e->fd, "r");
	char text[32] = "";

	bring(e, "last");
	peer_shutdown(e, SHUT_WR);
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	tell(in);
	CALL(getc(in));
	clearerr(in);
	tell(in);
	CALL(getc(in));
	tell(in);
	CALL(fread(text, 1, 10, in));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv(e, 4, 0);
}

SCENARIO(after_a_reset, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");

	signal(SIGPIPE, SIG_IGN);
	peer_reset(e);
	rest();
	CALL(getc(in));
	say("  %s", strerrorname_np(errno));
	tell(in);
	clearerr(in);
	CALL(getc(in));
	tell(in);
	CALL(fputs("x", out));
	CALL(fflush(out));
	say("  %s", strerrorname_np(errno));
	tell(out);
	CALL(fclose(out));
	CALL(fclose(in));
}

SCENARIO(no_places, 0)
{
	FILE *both = fdopen(e->fd, "r+");
	fpos_t place;

	CALL(fseek(both, 0, SEEK_SET));
	CALL(fseek(both, 0, SEEK_CUR));
	CALL(fseeko(both, 10, SEEK_END));
	CALL(ftell(both));
	CALL(ftello(both));
	CALL(fgetpos(both, &place));
	rewind(both);
	say("rewound: %s", strerrorname_np(errno));
	CALL(fputs("text", both));
	CALL(fflush(both));
	CALL(ftell(both));
	echo(e, 4);
}

SCENARIO(all_closed, ALONE)
{
	pid_t child = CHILD({
		FILE *out = fdopen(dup(e->fd), "w");

		fputs("closed with all", out);
		fcloseall();
	});

	reap(child);
	echo(e, 15);
}

SCENARIO(at_exit, ALONE)
{
	pid_t child = CHILD({
		fputs("flushed at exit", fdopen(e->fd, "w"));
		exit(3);
	});

	reap(child);
	child = CHILD({
		fputs("never", fdopen(e->fd, "w"));
		_exit(4);
	});
	reap(child);
	child = CHILD({
		fputs("neither", fdopen(e->fd, "w"));
		quick_exit(5);
	});
	reap(child);
	echo(e, 15);
	peer_pending(e);
}

/* What is in the buffer at the fork is written by both. */
SCENARIO(shared_by_fork, ALONE)
{
	FILE *out = fdopen(dup(e->fd), "w");

	fputs("[once]", out);
	CALL(fflush(out));
	fputs("[twice]", out);
	pid_t child = CHILD({
		fputs("[child]", out);
		fflush(out);
	});

	reap(child);
	fputs("[parent]", out);
	CALL(fclose(out));
	echo(e, 35);
}

/* As inetd does it: all three are the socket. */
SCENARIO(three_standard_streams, ALONE)
{
	char line[64];

	MUST(send(e->fd, "hello\nworld\n", 12, 0));
	mirror(e, 12);
	pid_t child = CHILD({
		dup2(e->fd, 0);
		dup2(e->fd, 1);
		dup2(e->fd, 2);
		close(e->fd);
		for (int i = 0; i < 2; i++)
			if (fgets(line, sizeof(line), stdin))
				printf("got %s", line);
		puts("put");
		fprintf(stderr, "unbuffered\n");
		errno = ENOENT;
		perror("error");
		fflush(stdout);
		fclose(stdin);
		exit(0);
	});

	reap(child);
	rest();
	char text[256] = "";

	mirror(e, 66);
	for (size_t done = 0; done < 66;) {
		ssize_t n = recv(e->fd, text + done, 66 - done, 0);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	say("%s", text);
}

/* In a program that has not used stderr, perror prints by a FILE and a number of its own. */
SCENARIO(perror_unused, ALONE)
{
	MUST(send(e->fd, "hello\n", 6, 0));
	mirror(e, 6);
	CALL(recv(e->fd, room, 10, 0));
	pid_t child = CHILD({
		dup2(e->fd, 2);
		for (int i = 0; i < 3; i++) {
			CALL(send(e->fd, "before\n", 7, 0));
			errno = ENOENT;
			perror(i == 1 ? NULL : "error");
			CALL(dprintf(2, "%s\n", "printed"));
		}
		CALL(fwide(stderr, 0));
		CALL(send(e->fd, "behind\n", 7, 0));
	});

	reap(child);
	echo(e, 3 * 15 + 2 * 33 + 26 + 7);
	say("  still open: %d", (int)send(e->fd, "more", 4, 0));
	echo(e, 4);
}

SCENARIO(beside_raw_calls, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");
	char text[64] = "";

	bring(e, "one\ntwo\nthree\n");
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	CALL(recv(e->fd, text, sizeof(text), MSG_DONTWAIT));
	CALL(poll(&(struct pollfd){e->fd, POLLIN, 0}, 1, 0));
	peer_send(e, 30);
	arrive(e, 30);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	fputs("second ", out);
	MUST(send(e->fd, "first ", 6, 0));
	CALL(fflush(out));
	echo(e, 13);
	say("number %d, twin %d", fileno(in) == e->fd, fileno(out) != e->fd);
}

SCENARIO(not_waiting, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");
	char text[64] = "";

	bring(e, "half a line");
	nonblocking(e->fd, true);
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	tell(in);
	clearerr(in);
	MUST(send(e->fd, " and the rest\n", 14, 0));
	mirror(e, 14);
	arrive(e, 14);
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	narrow(e);
	say("full: %d", stuff(e));
	nonblocking(e->fd, true);
	CALL(fputs("no room", out));
	CALL(fflush(out));
	say("  %s", strerrorname_np(errno));
	tell(out);
	say("  pending %zu", __fpending(out));
}

SCENARIO(waiting_for_a_while, 0)
{
	FILE *in = fdopen(e->fd, "r");
	struct timeval limit = {0, 50000};

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	CALL(getc(in));
	say("  %s", strerrorname_np(errno));
	tell(in);
	clearerr(in);
	bring(e, "x");
	CALL(getc(in));
}

SCENARIO(interrupted_lines, 0)
{
	FILE *in = fdopen(e->fd, "r");
	char text[64] = "";

	on_signal(SIGUSR1, 0);
	later(50);
	peer_signal(SIGUSR1);
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", strerrorname_np(errno));
	tell(in);
	peer_wait();
	clearerr(in);
	bring(e, "line\n");
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", text);
	on_signal(SIGUSR1, SA_RESTART);
	later(50);
	peer_signal(SIGUSR1);
	struct timeval limit = {0, 300000};

	MUST(setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	CALL(fgets(text, sizeof(text), in) != NULL);
	say("  %s", strerrorname_np(errno));
	peer_wait();
}

#define WRITERS 4
#define LINES   50
#define WIDTH   40

static void *write_records(void *file)
{
	static _Atomic int next = 'a';
	int letter = next++;

	for (int i = 0; i < LINES; i++) {
		flockfile(file);
		for (int n = 0; n < WIDTH; n++)
			putc_unlocked(letter, file);
		if (i % 10 == 0)
			fflush_unlocked(file);
		funlockfile(file);
	}
	return NULL;
}

/* Nobody's record has another's bytes in it. */
SCENARIO(threads_write, 0)
{
	FILE *out = fdopen(dup(e->fd), "w");
	pthread_t threads[WRITERS];

	setvbuf(out, NULL, _IOFBF, 1000);
	later(1);
	peer_records(e, WRITERS * LINES, WIDTH);
	for (int i = 0; i < WRITERS; i++)
		MUST(-pthread_create(&threads[i], NULL, write_records, out));
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	CALL(fclose(out));
	peer_wait();
}

SCENARIO(scanned, 0)
{
	FILE *both = fdopen(e->fd, "r+");
	int number = 0;
	char word[32] = "";

	bring(e, "  42 word 7x");
	CALL(fscanf(both, "%d %31s", &number, word));
	say("  %d %s", number, word);
	peer_shutdown(e, SHUT_WR);
	CALL(fscanf(both, "%d", &number));
	say("  %d", number);
	CALL(getc(both));
	CALL(fscanf(both, "%d", &number));
	tell(both);
}

/* The number goes to something else while the FILE lives. */
SCENARIO(number_taken_over, 0)
{
	int twin = dup(e->fd), null = (int)MUST(open("/dev/null", O_RDWR));
	FILE *out = fdopen(twin, "w");

	fputs("lost", out);
	CALL(dup2(null, twin) == twin);
	CALL(fflush(out));
	fputs("also", out);
	CALL(dup2(e->fd, twin) == twin);
	CALL(fclose(out));
	close(null);
	echo(e, 4);
	CALL(fcntl(twin, F_GETFD));
	FILE *closed = fdopen(dup(e->fd), "w");

	fputs("x", closed);
	close(fileno(closed));
	CALL(fflush(closed));
	CALL(fclose(closed));
}

SCENARIO(by_name, 0)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", e->fd);
	CALL(fopen(path, "r") != NULL);
	say("  %s", strerrorname_np(errno));
	CALL(open(path, O_RDWR));
}
