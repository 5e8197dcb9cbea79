/* A storm's program: its threads that send, those that receive in the round's style, and one that disturbs. */
#include "storm.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define SENDERS   2
#define RECEIVERS 2
#define HELPERS   3
#define WAIT_MS   3000
#define BELL      1000

static int set_here, bell; /* rung when nothing is to be received any more */
static pthread_t threads[SENDERS + RECEIVERS];
static unsigned threads_here;
static _Atomic unsigned finished;
static volatile bool over;

static bool all_sent(void)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		for (unsigned side = 0; side < 2; side++) {
			if (sides_here & 1u << side && !storm->way[i][side].shut && !storm->way[i][side].broken)
				return false;
		}
	}
	return true;
}

static bool all_received(void)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		for (unsigned side = 0; side < 2; side++) {
			if (sides_here & 1u << side && !storm->way[i][!side].ended && !storm->way[i][!side].broken)
				return false;
		}
	}
	return true;
}

static unsigned any_side(void)
{
	return sides_here == 3 ? (unsigned)draw(2) : sides_here >> 1;
}

static void hold_numbers(unsigned stream, unsigned side)
{
	if (!storm_helper)
		pthread_rwlock_rdlock(&ends_here[stream][side].numbers);
}

static void release_numbers(unsigned stream, unsigned side)
{
	if (!storm_helper)
		pthread_rwlock_unlock(&ends_here[stream][side].numbers);
}

/* Not where the room of both programs may be used up by those who wait: then nobody would read. */
static bool may_wait(void)
{
	return !storm_helper && !storm->quiet && storm->style == FREELY && !draw(3);
}

static bool send_one(bool waits)
{
	unsigned stream = (unsigned)draw(STREAMS), side = any_side();
	struct way *way = &storm->way[stream][side];
	bool did;

	if (pthread_mutex_trylock(&way->tx))
		return false;
	hold_numbers(stream, side);
	did = storm_send(stream, side, waits);
	release_numbers(stream, side);
	pthread_mutex_unlock(&way->tx);
	return did;
}

static bool receive_one(unsigned stream, unsigned side, bool waits)
{
	struct way *way = &storm->way[stream][!side];
	bool did;

	pthread_mutex_lock(&way->rx);
	hold_numbers(stream, side);
	did = storm_receive(stream, side, waits);
	release_numbers(stream, side);
	pthread_mutex_unlock(&way->rx);
	return did;
}

/* ---- threads ---- */

static void begin_thread(const void *argument)
{
	seed_luck((uint64_t)(uintptr_t)argument);
	storm_room = malloc(STORM_ROOM);
}

static void *send_much(void *argument)
{
	begin_thread(argument);
	while (!all_sent()) {
		if (!send_one(draw(2)))
			usleep((useconds_t)draw(300));
		else if (!draw(30))
			usleep((useconds_t)draw(3000));
	}
	free(storm_room);
	finished++;
	return NULL;
}

static void receive_freely(void)
{
	if (!receive_one((unsigned)draw(STREAMS), any_side(), may_wait()))
		usleep((useconds_t)draw(300));
}

/* Something came meanwhile, and nobody takes it? */
static void slept_through(void)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		for (unsigned side = 0; side < 2; side++) {
			struct way *way = &storm->way[i][!side];
			int unread = 0;

			if (!(sides_here & 1u << side) || way->ended || pthread_mutex_trylock(&way->rx))
				continue;
			if (!ioctl(ends_here[i][side].anchor, FIONREAD, &unread) && unread)
				storm_wrong("slept through", i, side, unread);
			pthread_mutex_unlock(&way->rx);
		}
	}
}

/* Nobody else is told of an edge: what was told is read to its end. */
static void receive_told(int set, unsigned again)
{
	struct epoll_event events[4];
	int n = epoll_wait(set, events, 1 + (int)draw(4), WAIT_MS);

	if (!n)
		slept_through();
	for (int i = 0; i < n; i++) {
		unsigned number = events[i].data.u32, stream = number / 2, side = number % 2;

		if (number == BELL)
			continue;
		if (storm->style == BY_LEVEL)
			receive_one(stream, side, false);
		else
			while (receive_one(stream, side, false))
				;
		if (again && !storm->way[stream][!side].ended) {
			struct epoll_event event = {again, {.u32 = number}};

			MUST(epoll_ctl(set, EPOLL_CTL_MOD, ends_here[stream][side].anchor, &event));
		}
	}
}

static void receive_polled(void)
{
	struct pollfd p[STREAMS * 2 + 1];
	unsigned count = 0, which[STREAMS * 2];

	for (unsigned number = 0; number < STREAMS * 2; number++) {
		unsigned stream = number / 2, side = number % 2;

		if (!(sides_here & 1u << side) || storm->way[stream][!side].ended)
			continue;
		p[count] = (struct pollfd){ends_here[stream][side].anchor, POLLIN, 0};
		which[count++] = number;
	}
	p[count] = (struct pollfd){bell, POLLIN, 0};
	int n = poll(p, count + 1, WAIT_MS);

	if (!n)
		slept_through();
	if (n <= 0)
		return;
	for (unsigned i = 0; i < count; i++) {
		if (p[i].revents)
			receive_one(which[i] / 2, which[i] % 2, false);
	}
}

static unsigned events_of_style(void)
{
	switch (storm->style) {
	case BY_EDGE:
		return EPOLLIN | EPOLLRDHUP | EPOLLET;
	case BY_TURNS:
		return EPOLLIN | EPOLLONESHOT;
	default:
		return EPOLLIN | (storm->seed % 2 ? EPOLLEXCLUSIVE : 0u);
	}
}

static int set_of_style(void)
{
	int set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));

	for (unsigned i = 0; i < STREAMS; i++) {
		for (unsigned side = 0; side < 2; side++) {
			struct epoll_event event = {events_of_style(), {.u32 = i * 2 + side}};

			if (sides_here & 1u << side)
				MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends_here[i][side].anchor, &event));
		}
	}
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, bell, &(struct epoll_event){EPOLLIN, {.u32 = BELL}}));
	return set;
}

static void *receive_much(void *argument)
{
	int own_set = -1;

	begin_thread(argument);
	if (storm->style == BY_LEVEL)
		own_set = set_of_style();
	while (!all_received()) {
		if (storm->style == FREELY)
			receive_freely();
		else if (storm->style == BY_POLL)
			receive_polled();
		else
			receive_told(own_set >= 0 ? own_set : set_here, storm->style == BY_TURNS ? events_of_style() : 0);
		if (!draw(30))
			usleep((useconds_t)draw(3000));
	}
	MUST(eventfd_write(bell, 1));
	if (own_set >= 0)
		close(own_set);
	free(storm_room);
	finished++;
	return NULL;
}

/* ---- disturbing ---- */

static pid_t helpers[HELPERS];

static void help(uint64_t its_luck)
{
	unsigned count = (unsigned)draw(60);

	storm_helper = true;
	signal(SIGALRM, SIG_DFL);
	seed_luck(its_luck);
	storm_room = malloc(STORM_ROOM);
	for (unsigned i = 0; i < count; i++) {
		unsigned stream = (unsigned)draw(STREAMS), side = any_side();

		if (draw(2)) {
			send_one(false);
		} else if (pthread_mutex_trylock(&storm->way[stream][!side].rx) == 0) {
			storm_receive(stream, side, false);
			pthread_mutex_unlock(&storm->way[stream][!side].rx);
		}
		if (!draw(4))
			usleep((useconds_t)draw(2000));
	}
	storm->helpers--;
	if (draw(2))
		kill(getpid(), SIGKILL);
	if (draw(2))
		execl("/bin/true", "true", NULL);
	_exit(0);
}

static void a_helper(void)
{
	pid_t *free_place = NULL;

	for (int i = 0; i < HELPERS; i++) {
		if (helpers[i] && waitpid(helpers[i], NULL, WNOHANG) > 0)
			helpers[i] = 0;
		if (!helpers[i])
			free_place = &helpers[i];
	}
	if (!free_place)
		return;
	uint64_t its_luck = draw(1ull << 40);

	storm->helpers++;
	*free_place = (pid_t)MUST(fork());
	if (!*free_place)
		help(its_luck);
}

/* By another number from now on; the old one is closed when nobody uses it. */
static void renumber(struct end_here *e)
{
	if (pthread_rwlock_trywrlock(&e->numbers))
		return;
	int old = e->fd, new = draw(2) ? dup(old) : fcntl(e->anchor, F_DUPFD, 3 + (int)draw(300));

	MUST(new);
	e->fd = new;
	MUST(close(old));
	pthread_rwlock_unlock(&e->numbers);
}

/* The same socket over its own number, whoever is in a call there. */
static void put_over(struct end_here *e)
{
	int twin = (int)MUST(dup(e->anchor));

	MUST(draw(2) ? dup2(twin, e->fd) : dup3(e->anchor, e->fd, O_CLOEXEC));
	MUST(close(twin));
}

static void change_set(unsigned stream, unsigned side)
{
	struct epoll_event event = {events_of_style(), {.u32 = stream * 2 + side}};
	int fd = ends_here[stream][side].anchor;

	if (storm->style != BY_EDGE)
		return;
	if (draw(2)) {
		MUST(epoll_ctl(set_here, EPOLL_CTL_MOD, fd, &event));
	} else {
		MUST(epoll_ctl(set_here, EPOLL_CTL_DEL, fd, &event));
		MUST(epoll_ctl(set_here, EPOLL_CTL_ADD, fd, &event));
	}
}

static void for_the_kernel_alone(unsigned stream, int fd)
{
	if (!storm->demotes[stream] || draw(20))
		return;
	int what = (int)draw(3);

	for (int on = 1; on >= 0; on--) {
		if (what == 0)
			setsockopt(fd, SOL_TCP, TCP_INQ, &on, sizeof(on));
		else if (what == 1)
			setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on));
		else
			setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &(int){1}, sizeof(int));
	}
}

static void disturb(void)
{
	unsigned stream = (unsigned)draw(STREAMS), side = any_side();
	struct end_here *e = &ends_here[stream][side];
	int on = draw(4) != 0;

	switch (draw(9)) {
	case 0:
		renumber(e);
		break;
	case 1:
		put_over(e);
		break;
	case 2:
		change_set(stream, side);
		break;
	case 3:
		if (storm->helped)
			a_helper();
		break;
	case 4:
		for_the_kernel_alone(stream, e->anchor);
		break;
	case 5:
		setsockopt(e->anchor, SOL_TCP, draw(2) ? TCP_NODELAY : TCP_QUICKACK, &on, sizeof(on));
		break;
	default:
		if (!storm->quiet)
			pthread_kill(threads[draw(threads_here)], SIGUSR1);
	}
}

/* Calls that wait are ended by its signals, so it goes on as long as anybody may wait. */
static void *disturb_all(void *argument)
{
	uint64_t kill_at = 0;
	pid_t victim = (pid_t)(intptr_t)argument;

	storm_room = NULL;
	seed_luck(storm->seed * 77 + sides_here);
	if (victim)
		kill_at = now_ms() + draw(100);
	while (!over) {
		usleep((useconds_t)draw(1500));
		if (victim && now_ms() >= kill_at) {
			storm->doomed = true;
			kill(victim, SIGKILL);
			victim = 0;
		}
		disturb();
	}
	return NULL;
}

void storm_side(pid_t victim)
{
	uint64_t seed = draw(1ull << 20) << 8;
	unsigned receivers = storm->style == BY_EDGE || storm->style == BY_POLL ? 1 : RECEIVERS;
	pthread_t disturber;

	on_signal(SIGUSR1, 0);
	over = false;
	finished = 0;
	bell = (int)MUST(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	set_here = set_of_style();
	threads_here = SENDERS + receivers;
	for (unsigned i = 0; i < threads_here; i++)
		MUST(-pthread_create(&threads[i], NULL, i < SENDERS ? send_much : receive_much, (void *)(uintptr_t)(seed + i + 1)));
	MUST(-pthread_create(&disturber, NULL, disturb_all, (void *)(intptr_t)victim));
	while (finished < threads_here)
		usleep(1000);
	over = true;
	pthread_join(disturber, NULL);
	for (unsigned i = 0; i < threads_here; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < HELPERS; i++) {
		if (helpers[i])
			waitpid(helpers[i], NULL, 0);
		helpers[i] = 0;
	}
	close(set_here);
	close(bell);
}
