/* Datagram sockets as FILE streams, where libc calls no function by a symbol; and the time when a datagram came. */
#define FAMILY "datagrams"
#include "datagrams.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/time.h>

/* Moved again: connect ends what was. */
static void open_connected(struct end *e)
{
	open_udp(e);
	connect_udp(e);
	exchange(e, manner.warm ? manner.warm : 1);
}

static void read_file(struct end *e, FILE *file)
{
	static char small[16];

	for (int i = 0; i < 6; i++) {
		peer_gives(e, 100 + i);
		if (i % 2)
			await(e);
		TAKE(e, fread(room, 1, (size_t)(100 + i), file));
	}
	peer_gives_many(e, 20, 3);
	await(e);
	TAKE(e, fread(room, 1, 20, file));
	TAKE(e, recv(e->fd, room, 20, 0));
	TAKE(e, fread(room, 1, 20, file));
	/* By a small buffer, a byte first. */
	setvbuf(file, small, _IOFBF, sizeof(small));
	peer_gives(e, 7);
	say("first byte as it should be: %d", fgetc(file) == content(1, e->taken * DATAGRAM_ROOM));
	TAKE(e, fread(room + 1, 1, 6, file) + (room[0] = content(1, e->taken * DATAGRAM_ROOM), 1));
}

SCENARIO(read_by_a_file, UNOPENED | ITS_OWN)
{
	FILE *file;

	open_connected(e);
	file = fdopen(dup(e->fd), "r");
	read_file(e, file);
	CALL(fclose(file));
	peer_gives(e, 10);
	TAKE(e, recv(e->fd, room, 20, 0));
}

SCENARIO(read_by_the_standard_input, UNOPENED | ITS_OWN)
{
	int before = (int)MUST(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));

	open_connected(e);
	MUST(dup2(e->fd, STDIN_FILENO));
	read_file(e, stdin);
	MUST(dup2(before, STDIN_FILENO));
	close(before);
}

SCENARIO(written_by_a_file, UNOPENED | ITS_OWN)
{
	FILE *file;

	open_connected(e);
	file = fdopen(dup(e->fd), "w");
	for (int i = 0; i < 4; i++) {
		GIVE(e, 50, send(e->fd, room, 50, 0));
		GIVE(e, 60, fwrite(room, 1, 60, file) + fflush(file));
		GIVE(e, 3, dprintf(e->fd, "%c%c%c", room[0], room[1], room[2]));
		GIVE(e, 70, send(e->fd, room, 70, 0));
		peer_takes(e, 50);
		peer_takes(e, 60);
		peer_takes(e, 3);
		peer_takes(e, 70);
		exchange(e, 20);
	}
	CALL(fclose(file));
}

/* SIOCGSTAMP: the time when the last one came. What was told to who asks for it lies between sending and asking. */
static void show_time(struct end *e, unsigned long request, const struct timespec *before)
{
	struct timespec after;
	struct timeval told = {0};
	int64_t us[3];

	CALL(ioctl(e->fd, request, &told));
	clock_gettime(CLOCK_REALTIME, &after);
	us[0] = before->tv_sec * INT64_C(1000000) + before->tv_nsec / 1000;
	us[1] = told.tv_sec * INT64_C(1000000) + (request == SIOCGSTAMP ? told.tv_usec : told.tv_usec / 1000);
	us[2] = after.tv_sec * INT64_C(1000000) + after.tv_nsec / 1000;
	say("not before it was sent: %d, not later: %d", us[0] <= us[1], us[1] <= us[2]);
}

SCENARIO(time_of_arrival, UNOPENED | ITS_OWN)
{
	struct timespec before;

	open_udp(e);
	peer_gives(e, 10);
	TAKE(e, recv(e->fd, room, 20, 0));
	for (int i = 0; i < 6; i++) {
		clock_gettime(CLOCK_REALTIME, &before);
		peer_gives(e, 10);
		TAKE(e, recv(e->fd, room, 20, 0));
		show_time(e, i % 2 ? SIOCGSTAMP : SIOCGSTAMPNS, &before);
		pause_us(1000);
	}
	clock_gettime(CLOCK_REALTIME, &before);
	exchange(e, 30);
	show_time(e, SIOCGSTAMP, &before);
}
