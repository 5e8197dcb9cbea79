/* The C library's streams on a socket. */
#define FAMILY "stdio"
#include "oracle.h"
#include "peer.h"

#include <aio.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

/* Text, so the peer's content check is of no use: the peer sends back what it gets. */
static void echo_line(struct end *e, FILE *in, long length)
{
	char line[256] = "";

	quietly();
	struct peer_answer answer = peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = length});

	say("  mirrored %ld", answer.result);
	say("  %s", fgets(line, sizeof(line), in) ? line : "nothing");
}

SCENARIO(lines, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");

	setvbuf(out, NULL, _IOLBF, 0);
	for (int i = 0; i < 20; i++) {
		fprintf(out, "line %d of %s\n", i, "twenty");
		echo_line(e, in, i < 10 ? 17 : 18);
	}
	fputs("unfinished", out);
	CALL(fflush(out));
	fputc('\n', out);
	echo_line(e, in, 11);
	CALL(fclose(out));
	CALL(fclose(in));
	peer_drain(e);
}

SCENARIO(one_stream_both_ways, 0)
{
	FILE *both = fdopen(e->fd, "r+");
	char *line = NULL;
	size_t room_of = 0;

	setvbuf(both, NULL, _IONBF, 0);
	fputs("hello\n", both);
	echo_line(e, both, 6);
	fwrite("first\nsecond\n", 1, 13, both);
	peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = 13});
	CALL(getline(&line, &room_of, both));
	say("  %s", line);
	CALL(getline(&line, &room_of, both));
	say("  %s", line);
	peer_shutdown(e, SHUT_WR);
	CALL(getline(&line, &room_of, both));
	say("  end %d error %d", feof(both), ferror(both));
	CALL(fclose(both));
	free(line);
	peer_drain(e);
}

SCENARIO(to_a_descriptor, 0)
{
	FILE *in = fdopen(e->fd, "r");

	for (int i = 0; i < 5; i++) {
		CALL(dprintf(e->fd, "number %d\n", i));
		echo_line(e, in, 9);
	}
}

SCENARIO(large_streams, 0)
{
	FILE *out = fdopen(dup(e->fd), "w"), *in = fdopen(e->fd, "r");

	fill(e, room, 300000);
	later(1);
	peer_recv_all(e, 300000);
	CALL(fwrite(room, 1, 300000, out));
	CALL(fflush(out));
	peer_wait();
	later(1);
	peer_send_all(e, 300000);
	RECV(e, fread(room, 1, 300000, in));
	peer_wait();
	fclose(out);
	fclose(in);
}

SCENARIO(wide, 0)
{
	FILE *out = fdopen(dup(e->fd), "w"), *in = fdopen(e->fd, "r");
	wchar_t line[64] = L"";

	setvbuf(out, NULL, _IOLBF, 0);
	for (int i = 0; i < 3; i++) {
		CALL(fwprintf(out, L"wide %d\n", i));
		peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = 7});
		say("  read %d", fgetws(line, 64, in) != NULL);
		say("  %ls", line);
	}
	fclose(out);
	fclose(in);
	peer_drain(e);
}

SCENARIO(characters, 0)
{
	FILE *in = fdopen(e->fd, "r");
	int sum = 0;

	peer_send(e, 1000);
	for (int i = 0; i < 1000; i++)
		sum += getc(in) == content(1, e->taken + (uint64_t)i);
	say("good %d", sum);
	peer_shutdown(e, SHUT_WR);
	CALL(getc(in));
	fclose(in);
}

SCENARIO(failing, 0)
{
	FILE *in = fdopen(e->fd, "r"), *out = fdopen(dup(e->fd), "w");

	nonblocking(e->fd, true);
	CALL(getc(in));
	say("  %s, error %d, end %d", strerrorname_np(errno), ferror(in), feof(in));
	clearerr(in);
	peer_reset(e);
	rest();
	CALL(getc(in));
	say("  %s, error %d, end %d", strerrorname_np(errno), ferror(in), feof(in));
	fclose(in);
	fclose(out);
}

SCENARIO(standard_output, ALONE)
{
	pid_t child = CHILD({
		dup2(e->fd, STDOUT_FILENO);
		printf("printed\n");
		puts("put");
		fflush(stdout);
		printf("at exit\n");
		exit(0);
	});
	reap(child);
	peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = 20});
	char text[64] = "";

	arrive(e, 20);
	CALL(recv(e->fd, text, sizeof(text), 0));
	say("%s", text);
}

SCENARIO(standard_input, ALONE)
{
	char line[64];
	int sent = (int)send(e->fd, "for the child\nmore\n", 19, 0);

	say("sent %d", sent);
	peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = 19});
	pid_t child = CHILD({
		dup2(e->fd, STDIN_FILENO);
		say("  %s", fgets(line, sizeof(line), stdin) ? line : "nothing");
		say("  %s", fgets(line, sizeof(line), stdin) ? line : "nothing");
	});

	reap(child);
}

SCENARIO(command_inherits, ALONE)
{
	char command[128];

	snprintf(command, sizeof(command), "head -c 10 <&%d | wc -c; printf ok >&%d", e->fd, e->fd);
	peer_send(e, 10);
	arrive(e, 10);
	CALL(system(command));
	e->taken += 10;
	quietly();
	peer_ask((struct peer_order){.does = PEER_MIRROR, .number = e->number, .count = 2});
	arrive(e, 2);
	char text[8] = "";

	CALL(recv(e->fd, text, 7, 0));
	say("%s", text);
}

static long aio_one(int what, int fd, void *bytes, size_t count)
{
	struct aiocb block = {.aio_fildes = fd, .aio_buf = bytes, .aio_nbytes = count};
	const struct aiocb *list[1] = {&block};

	if (what ? aio_write(&block) : aio_read(&block))
		return -1;
	while (aio_error(&block) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	errno = aio_error(&block);
	return aio_return(&block);
}

/* POSIX asynchronous calls: threads of the C library make them. */
SCENARIO(asynchronous_calls, 0)
{
	for (int i = 0; i < 4; i++) {
		peer_send(e, 100);
		arrive(e, 100);
		RECV(e, aio_one(0, e->fd, room, 1000));
		SEND(e, 50, aio_one(1, e->fd, room, 50));
		peer_recv_all(e, 50);
		later(30);
		peer_send(e, 100);
		RECV(e, aio_one(0, e->fd, room, 1000));
		peer_wait();
	}
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}
