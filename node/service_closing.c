/*
 * Closing what programs have sent. The last close of a socket that lingers, of one with descriptors in its queue, or of a file on
 * somebody's own file system takes as long as somebody likes, so threads do it, and no user has all of them. What is not closed yet counts
 * among its user's connections. A program that has sent much of it, or whose user may have no more connections, is not read until some of
 * it is closed: what it says next waits in its own queue, so nothing is lost, and nobody else waits for it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "service.h"

#define CLOSERS         64 /* at once, and one of each user's that has none of these */
#define CLOSERS_OF_USER 8  /* of them, for one who doesn't own the service */
#define MOST_OF_PROGRAM 32 /* not closed yet */
#define IDLE_SECONDS    5
#define PATIENCE_NS     20000000
#define REST_NS         100000000

struct cw_closing {
	int fd;
	struct cw_user *user;
	struct cw_program *program;     /* while it lives */
	struct cw_closing *next, *prev; /* of the program */
	struct cw_closing *behind;      /* of the user, while it waits; then in a thread's list */
};

/* The loop's. */
static struct cw_user itself; /* whose affair is what no program has sent */
static unsigned begun, held;
static struct cw_source closed_some = {.fd = -1};

/* Everybody's. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct cw_closings wanted, done;
static unsigned closers;

static void put(struct cw_closings *list, struct cw_closing *closing)
{
	closing->behind = NULL;
	if (list->first)
		list->last->behind = closing;
	else
		list->first = closing;
	list->last = closing;
}

static struct cw_closing *take(struct cw_closings *list)
{
	struct cw_closing *first = list->first;

	if (first)
		list->first = first->behind;
	return first;
}

/* ---- the threads ---- */

static struct cw_closing *await_work(void)
{
	struct timespec until;
	struct cw_closing *closing;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_SECONDS;
	while (!(closing = take(&wanted)) && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&work, &guard, &until);
	return closing;
}

static void tell(struct cw_closing *closing)
{
	put(&done, closing);
	eventfd_write(closed_some.fd, 1);
}

static void *close_them(void *ignored)
{
	struct cw_closing *closing;

	pthread_mutex_lock(&guard);
	while ((closing = await_work())) {
		pthread_mutex_unlock(&guard);
		close(closing->fd);
		pthread_mutex_lock(&guard);
		tell(closing);
	}
	closers--;
	pthread_mutex_unlock(&guard);
	return NULL;
}

/* One for each that is begun, so none waits for another. */
static void start_closer(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (pthread_attr_init(&attributes) != 0)
		return;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, close_them, NULL) == 0)
		closers++;
	pthread_attr_destroy(&attributes);
}

/* ---- the loop ---- */

static unsigned most_closers(const struct cw_user *user)
{
	return user == &itself || cw_user_owns(user->uid) ? CLOSERS : CLOSERS_OF_USER;
}

/* One in any case: all the others' may be of those that others keep waiting. */
static bool may_begin(const struct cw_user *user)
{
	return !user->closers || (begun < CLOSERS && user->closers < most_closers(user));
}

static void begin(struct cw_closing *closing)
{
	begun++;
	closing->user->closers++;
	pthread_mutex_lock(&guard);
	put(&wanted, closing);
	if (closers < begun)
		start_closer();
	if (!closers) {
		close(closing->fd);
		tell(take(&wanted));
	}
	pthread_cond_signal(&work);
	pthread_mutex_unlock(&guard);
}

static void begin_of(struct cw_user *user)
{
	while (user->waiting.first && may_begin(user))
		begin(take(&user->waiting));
}

static void begin_what_may(void)
{
	struct cw_user *user, *next;

	begin_of(&itself);
	HASH_ITER(hh, service.users, user, next)
	begin_of(user);
}

bool cw_closing_has_much(const struct cw_program *program)
{
	return program->closing >= MOST_OF_PROGRAM || (program->user->closing && cw_user_is_full(program->user));
}

static void hold(struct cw_program *program)
{
	if (program->held || program->dead)
		return;
	program->held = true;
	held++;
	cw_loop_remove(&program->source);
}

static void let_go(struct cw_program *program)
{
	if (!program->held || program->dead || program->closed || program->resting || cw_closing_has_much(program))
		return;
	program->held = false;
	held--;
	if (cw_loop_add(&program->source, EPOLLIN | EPOLLRDHUP | (program->writing ? EPOLLOUT : 0)) < 0)
		cw_program_end(program);
}

static void end_rest(struct cw_timer *timer)
{
	struct cw_program *program, *next;

	DL_FOREACH_SAFE(service.all, program, next)
	{
		if (!program->resting)
			continue;
		program->resting = false;
		cw_loop_remove(&program->source);
		let_go(program);
	}
}

void cw_program_asked_for(struct cw_program *program, uint64_t entries)
{
	static struct cw_timer rest = {.expired = end_rest};

	if (program->dead || !cw_user_must_rest(program->user, entries))
		return;
	cw_tally(CW_SERVICE_held);
	program->resting = true;
	if (!program->held) {
		hold(program);
		cw_loop_add(&program->source, 0); /* its end is heard: who has gone takes no room for a connection */
	}
	if (!rest.at)
		cw_timer_set(&rest, REST_NS);
}

/* What waited for it goes on. */
static void go_on(struct cw_program *program)
{
	void (*closed)(struct cw_program * program) = program->closed;

	program->closed = NULL;
	program->awaited = NULL;
	cw_timer_stop(&program->patience);
	closed(program);
	let_go(program);
}

static void settle(struct cw_closing *closing)
{
	struct cw_program *program = closing->program;

	begun--;
	closing->user->closers--;
	closing->user->closing--;
	if (closing->user != &itself)
		cw_user_forget_unused(closing->user);
	if (program) {
		DL_DELETE(program->closings, closing);
		program->closing--;
		if (program->awaited == closing)
			go_on(program);
	}
	free(closing);
}

static void settle_all(struct cw_source *source, uint32_t events)
{
	struct cw_program *program, *next;
	struct cw_closing *closing;
	struct cw_closings settled;
	eventfd_t ignored;

	eventfd_read(source->fd, &ignored);
	pthread_mutex_lock(&guard);
	settled = done;
	done.first = NULL;
	pthread_mutex_unlock(&guard);
	while ((closing = take(&settled)))
		settle(closing);
	begin_what_may();
	if (held)
		DL_FOREACH_SAFE(service.all, program, next)
	let_go(program);
}

static bool ready(void)
{
	if (closed_some.fd >= 0)
		return true;
	closed_some = (struct cw_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = settle_all};
	if (closed_some.fd >= 0 && cw_loop_add(&closed_some, EPOLLIN) == 0)
		return true;
	if (closed_some.fd >= 0)
		close(closed_some.fd);
	closed_some.fd = -1;
	return false;
}

static struct cw_closing *entrust(struct cw_program *program, struct cw_user *user, int fd)
{
	struct cw_closing *closing = user && ready() ? calloc(1, sizeof(*closing)) : NULL;

	if (!closing) {
		close(fd);
		return NULL;
	}
	closing->fd = fd;
	closing->user = user;
	closing->user->closing++;
	if (program && !program->dead) {
		closing->program = program;
		DL_APPEND(program->closings, closing);
		program->closing++;
	}
	put(&closing->user->waiting, closing);
	begin_of(closing->user);
	return closing;
}

void cw_close_elsewhere(struct cw_program *program, int fd)
{
	if (entrust(program, program ? program->user : &itself, fd) && program && !program->dead)
		cw_closing_holds(program);
}

void cw_close_of_user(uid_t uid, int fd)
{
	entrust(NULL, cw_user_of(uid), fd);
}

bool cw_closing_holds(struct cw_program *program)
{
	if (!program->held && cw_closing_has_much(program)) {
		cw_tally(CW_SERVICE_held);
		hold(program);
	}
	return program->held;
}

static void lose_patience(struct cw_timer *timer)
{
	go_on((struct cw_program *)((char *)timer - offsetof(struct cw_program, patience)));
}

void cw_close_and_wait(struct cw_program *program, int fd, void (*closed)(struct cw_program *program))
{
	struct cw_closing *closing = entrust(program, program->user, fd);

	if (!closing) {
		closed(program);
		return;
	}
	cw_closing_holds(program);
	program->awaited = closing;
	program->closed = closed;
	program->patience.expired = lose_patience;
	cw_timer_set(&program->patience, PATIENCE_NS);
	hold(program);
}

void cw_closing_forget(struct cw_program *program)
{
	struct cw_closing *closing;

	cw_timer_stop(&program->patience);
	program->closed = NULL;
	held -= program->held;
	DL_FOREACH(program->closings, closing)
	closing->program = NULL;
}

/* ---- which may be closed at once ---- */

void cw_close_foreign(struct cw_program *program, int fd)
{
	if (cw_socket_integer(fd, SO_PROTOCOL) == IPPROTO_TCP)
		cw_close_tcp(program, fd);
	else if (cw_socket_integer(fd, SO_PROTOCOL) == IPPROTO_UDP)
		close(fd);
	else
		cw_close_elsewhere(program, fd);
}

void cw_close_tcp(struct cw_program *program, int fd)
{
	struct linger linger = {0};
	socklen_t length = sizeof(linger);

	if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && !(linger.l_onoff && linger.l_linger))
		close(fd);
	else
		cw_close_elsewhere(program, fd);
}
