/*
 * What could block is done by a child: writing into a file that a user named, reading /proc of processes that may be anything. It has a
 * time limit, keeps none of the service's descriptors, and sends a few bytes back through a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "service.h"

#define LIMIT_SECONDS 20
#define MOST          24 /* at once */
#define MOST_ASKED    16 /* of these, for whoever asks: a file that a user named can keep one until the limit */
#define MOST_OF_USER  4  /* of these, for one who doesn't own the service */
#define MOST_OF_USERS 12 /* for all of those */

struct worker {
	struct cw_source source; /* the pipe's reading end */
	void (*done)(void *context, uint64_t result);
	void *context;
	bool asked;
	uid_t uid; /* who asked */
	struct worker *next, *prev;
};

static struct worker *workers;
static unsigned count, count_asked;

static void worker_ready(struct cw_source *source, uint32_t events)
{
	struct worker *worker = (struct worker *)source;
	uint64_t result = 0;

	if (read(source->fd, &result, sizeof(result)) != sizeof(result))
		result = 0;
	cw_loop_remove(source);
	close(source->fd);
	DL_DELETE(workers, worker);
	count--;
	count_asked -= worker->asked;
	if (worker->done)
		worker->done(worker->context, result);
	free(worker);
}

/* 3 is what the work needs, 4 the pipe; all else would keep connections alive that the service has closed. */
__attribute__((noreturn)) static void be_worker(uint64_t (*work)(int fd, void *argument), void *argument, int fd, int pipe)
{
	uint64_t result;

	alarm(LIMIT_SECONDS);
	fd = fd < 0 ? pipe : fd;
	if (fd == 4 || pipe == 3) { /* out of each other's way */
		fd = fcntl(fd, F_DUPFD, 5);
		pipe = fcntl(pipe, F_DUPFD, 5);
	}
	if (fd < 0 || pipe < 0 || dup2(fd, 3) < 0 || dup2(pipe, 4) < 0)
		_exit(1);
	close_range(5, ~0u, 0);
	result = work(3, argument);
	_exit(write(4, &result, sizeof(result)) == sizeof(result) ? 0 : 1);
}

static int start(struct worker *worker, uint64_t (*work)(int fd, void *argument), void *argument, int fd)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	worker->source = (struct cw_source){.fd = ends[0], .ready = worker_ready};
	if (cw_loop_add(&worker->source, EPOLLIN) < 0 || (child = fork()) < 0) {
		close(ends[0]);
		close(ends[1]);
		return -1;
	}
	if (child == 0)
		be_worker(work, argument, fd, ends[1]);
	close(ends[1]);
	DL_APPEND(workers, worker);
	count++;
	count_asked += worker->asked;
	return 0;
}

static bool may_ask(uid_t uid)
{
	unsigned own = 0, others = 0;
	struct worker *worker;

	DL_FOREACH(workers, worker)
	{
		own += worker->asked && worker->uid == uid;
		others += worker->asked && !cw_user_owns(worker->uid);
	}
	return count_asked < MOST_ASKED && (cw_user_owns(uid) || (own < MOST_OF_USER && others < MOST_OF_USERS));
}

static int begin(struct worker wanted, uint64_t (*work)(int fd, void *argument), void *argument, int fd)
{
	struct worker *worker;

	if ((count >= MOST || (wanted.asked && !may_ask(wanted.uid))) && !service.stopping) {
		errno = EAGAIN;
		return -1;
	}
	worker = malloc(sizeof(*worker));
	if (!worker)
		return -1;
	*worker = wanted;
	if (start(worker, work, argument, fd) == 0)
		return 0;
	free(worker);
	return -1;
}

int cw_worker(uint64_t (*work)(int fd, void *argument), void *argument, int fd, void (*done)(void *context, uint64_t result), void *context)
{
	return begin((struct worker){.done = done, .context = context}, work, argument, fd);
}

int cw_worker_asked(uid_t uid, uint64_t (*work)(int fd, void *argument), void *argument, int fd,
		    void (*done)(void *context, uint64_t result), void *context)
{
	return begin((struct worker){.done = done, .context = context, .asked = true, .uid = uid}, work, argument, fd);
}
