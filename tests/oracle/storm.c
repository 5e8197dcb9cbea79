/*
 * A storm: streams that carry known bytes both ways while threads and processes that share their ends send, receive and wait in every way,
 * and others disturb them: numbers put over each other and closed, children that take part and die, signals, options that only the kernel
 * knows. What happens when is nobody's to say, but each byte comes once and in order, no wait is for ever or told in vain, and each end is
 * told: by 0 behind the last byte, or, where the other program is killed, by an error too.
 */
#include "storm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ROUND_SECONDS 20

struct storm *storm;
struct end_here ends_here[STREAMS][2];
unsigned sides_here;
__thread uint64_t luck;
__thread unsigned char *storm_room;
bool storm_helper;

uint64_t draw(uint64_t below)
{
	return walk_any(&luck, below);
}

void seed_luck(uint64_t seed)
{
	luck = seed * 0x9e3779b97f4a7c15ull + 1;
}

/* Of both ways of a stream, as far as this process has its ends. */
static void tell_state(void)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		for (unsigned side = 0; side < 2; side++) {
			const struct way *out = &storm->way[i][side];
			int fd = ends_here[i][side].fd, unread = -1;
			struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};

			say("  stream %u, from side %u: sent %" PRIu64 " taken %" PRIu64 " of %" PRIu64 "%s%s", i, side, out->sent,
			    out->taken, out->total, out->shut ? ", shut" : "", out->ended ? ", ended" : "");
			if (!(sides_here & 1u << side))
				continue;
			ioctl(fd, FIONREAD, &unread);
			poll(&p, 1, 0);
			say("    here as %d: %d unread, poll %s", fd, unread, POLLED((unsigned)p.revents));
		}
	}
}

void storm_wrong(const char *what, unsigned stream, unsigned side, long result)
{
	int error = errno;

	if (atomic_exchange(&storm->wrong, 1)) {
		say("another: %s", what);
		sleep(1);
		_exit(1);
	}
	say("WRONG in storm %" PRIu64 " (programs %u, style %u, %s%s%s%s%s): %s: stream %u, side %u: %s", storm->seed, storm->together,
	    storm->style, storm->quiet ? "quiet, " : "", storm->helped ? "helped, " : "", storm->spliced ? "spliced, " : "",
	    storm->doomed ? "doomed, " : "", storm_helper ? "a helper" : "a program", what, stream, side,
	    show_result(result, error, (char[48]){0}));
	tell_state();
	_exit(1);
}

static void out_of_time(int number __attribute__((unused)))
{
	errno = 0;
	storm_wrong("out of time", 0, 0, 0);
}

/* ---- opening ---- */

static struct sockaddr_storage place;
static socklen_t place_length;

static int open_listener(void)
{
	int listener;

	place_length = loopback(&place);
	listener = (int)MUST(socket(place.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	MUST(bind(listener, (struct sockaddr *)&place, place_length));
	place_length = sizeof(place);
	MUST(getsockname(listener, (struct sockaddr *)&place, &place_length));
	MUST(listen(listener, STREAMS));
	return listener;
}

static void prepare(unsigned stream, unsigned side, int fd)
{
	struct end_here *e = &ends_here[stream][side];
	int size = 16384 << storm->narrow[stream];

	if (storm->narrow[stream]) {
		MUST(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)));
		MUST(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	}
	if (place.ss_family != AF_UNIX)
		MUST(setsockopt(fd, SOL_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
	pthread_rwlock_init(&e->numbers, NULL);
	e->fd = fd;
	e->anchor = (int)MUST(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

static void reach(unsigned stream, unsigned side)
{
	int fd = (int)MUST(socket(place.ss_family, SOCK_STREAM, 0));

	MUST(connect(fd, (struct sockaddr *)&place, place_length));
	prepare(stream, side, fd);
}

static void admit(int listener, unsigned stream, unsigned side)
{
	prepare(stream, side, (int)MUST(accept(listener, NULL, NULL)));
}

static void leave(unsigned side)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		close(ends_here[i][side].anchor);
		close(ends_here[i][side].fd);
	}
}

/* ---- a round ---- */

static void prepare_round(uint64_t seed)
{
	pthread_mutexattr_t shared;

	memset(storm, 0, sizeof(*storm));
	storm->seed = seed;
	storm->style = (unsigned)draw(STYLES);
	storm->together = (unsigned)draw(3);
	storm->quiet = draw(2);
	storm->spliced = !draw(4);
	storm->helped = manner.peer != PEER_THREAD && !draw(3);
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	for (unsigned i = 0; i < STREAMS; i++) {
		storm->narrow[i] = draw(4) ? 0 : 1 + (unsigned)draw(2);
		storm->demotes[i] = !draw(4);
		for (unsigned way = 0; way < 2; way++) {
			struct way *w = &storm->way[i][way];

			w->total = draw(3) ? draw(2000000) : draw(10000000);
			if (storm->narrow[i])
				w->total /= 10;
			pthread_mutex_init(&w->tx, &shared);
			pthread_mutex_init(&w->rx, &shared);
		}
	}
	pthread_mutexattr_destroy(&shared);
}

static void end_of_side(pid_t child)
{
	int status = 0;

	MUST(waitpid(child, &status, 0));
	if (storm->doomed ? !WIFSIGNALED(status) && WEXITSTATUS(status) : status) {
		say("the other program ended with status %#x", (unsigned)status);
		_exit(1);
	}
}

static void two_programs(int listener, bool inherited)
{
	bool accepts = draw(2), kills = !draw(4);
	uint64_t its_luck = draw(1ull << 40);
	pid_t child;

	if (inherited) {
		for (unsigned i = 0; i < STREAMS; i++) {
			reach(i, accepts);
			admit(listener, i, !accepts);
		}
	}
	child = (pid_t)MUST(fork());
	sides_here = child ? 1 : 2;
	if (!child)
		seed_luck(its_luck);
	for (unsigned i = 0; i < STREAMS && !inherited; i++) {
		if (accepts == !child)
			admit(listener, i, !child);
		else
			reach(i, !child);
	}
	if (inherited)
		leave(child ? 1 : 0);
	if (!child) {
		alarm(ROUND_SECONDS);
		storm_side(0);
		_exit(0);
	}
	storm_side(kills ? child : 0);
	leave(0);
	end_of_side(child);
	for (int i = 0; i < 2000 && storm->helpers; i++)
		usleep(1000);
}

static void round_of(uint64_t seed)
{
	int listener;

	seed_luck(seed);
	prepare_round(seed);
	listener = open_listener();
	if (storm->together == 0 || manner.peer == PEER_THREAD) {
		storm->together = 0;
		sides_here = 3;
		for (unsigned i = 0; i < STREAMS; i++) {
			reach(i, 0);
			admit(listener, i, 1);
		}
		storm_side(0);
		leave(0);
		leave(1);
	} else {
		two_programs(listener, storm->together == 1);
	}
	close(listener);
}

int storm_of(uint64_t seed, unsigned rounds)
{
	storm = mmap(NULL, sizeof(*storm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(storm == MAP_FAILED ? -1 : 0);
	signal(SIGALRM, out_of_time);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < rounds; i++) {
		alarm(ROUND_SECONDS);
		round_of(seed + i);
	}
	say("seed %" PRIu64 ": %u rounds", seed, rounds);
	return 0;
}
