/* A process that holds a walker's stream as long as the walker does, and uses it in turns with the walk. */
#include "walk.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

struct loan {
	bool gives;
	size_t count;
	uint64_t sent, taken;
};

/* Else streams of other walkers would not end with them. */
void close_all_but(int one, int other)
{
	unsigned low = (unsigned)(one < other ? one : other), high = (unsigned)(one < other ? other : one);

	close_range(3, low - 1, 0);
	close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0u, 0);
}

/* While a child holds streams of other threads' walks none of those may be closed: it would not end, and sets would go on telling of it. */
static pthread_mutex_t copies = PTHREAD_MUTEX_INITIALIZER;

void lend_lock(void)
{
	pthread_mutex_lock(&copies);
}

void lend_unlock(void)
{
	pthread_mutex_unlock(&copies);
}

static void serve(struct walker *w, int line)
{
	struct loan loan;
	char good = 1;

	close_all_but(w->e.fd, line);
	if (write(line, &good, 1) != 1)
		_exit(1);
	while (read(line, &loan, sizeof(loan)) == sizeof(loan)) {
		w->e.sent = loan.sent;
		w->e.taken = loan.taken;
		if (loan.gives)
			give(&w->e, loan.count);
		else
			take(&w->e, loan.count);
		good = !went_wrong();
		if (write(line, &good, 1) != 1)
			break;
	}
	_exit(0);
}

_Atomic unsigned walk_forks;

pid_t walk_fork(void)
{
	walk_forks++;
	return (pid_t)MUST(fork());
}

void lend(struct walker *w)
{
	int pair[2];
	char ready;

	lend_lock();
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	w->child = walk_fork();
	if (!w->child) {
		close(pair[0]);
		serve(w, pair[1]);
	}
	close(pair[1]);
	w->line = pair[0];
	MUST(read(w->line, &ready, 1));
	lend_unlock();
}

void lend_end(struct walker *w, bool kills)
{
	if (!w->child)
		return;
	if (kills)
		kill(w->child, SIGKILL);
	close(w->line);
	waitpid(w->child, NULL, 0);
	w->child = 0;
}

static bool lent(struct walker *w, bool gives, size_t count)
{
	struct loan loan = {gives, count, w->e.sent, w->e.taken};
	char good = 0;

	return write(w->line, &loan, sizeof(loan)) == sizeof(loan) && read(w->line, &good, 1) == 1 && good;
}

bool lent_take(struct walker *w, size_t count)
{
	bool good = lent(w, false, count);

	w->e.taken += count;
	return good;
}

bool lent_give(struct walker *w, size_t count)
{
	bool good = lent(w, true, count);

	w->e.sent += count;
	return good;
}
