/* The scenario's side of the peer: giving orders, printing answers. */
#include "peer.h"
#include "wire.h"
#include "walk.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Of a thread that has started a peer of its own; else the main thread's. */
struct link {
	int channel, delay;
	bool quiet, bad_answer;
	struct peer_order waiting;
};

static struct link main_link = {.channel = -1};
static __thread struct link own_link, *link_used = &main_link;
static bool hushed;

pid_t peer_process;

static void *peer_thread(void *argument)
{
	peer_serve((int)(intptr_t)argument);
	return NULL;
}

static void peer_process_start(int mine, int its)
{
	char number[16];

	peer_process = (pid_t)MUST(fork());
	if (peer_process)
		return;
	close(mine);
	if (manner.peer == PEER_FORK) {
		peer_serve(its);
		_exit(0);
	}
	fcntl(its, F_SETFD, 0);
	snprintf(number, sizeof(number), "%d", its);
	execl(manner.program, "scenarios", "--peer", number, NULL);
	_exit(127);
}

void peer_start(void)
{
	pthread_t thread;
	sigset_t all, before;
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	link_used->channel = pair[0];
	if (manner.peer == PEER_THREAD) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		MUST(-pthread_create(&thread, NULL, peer_thread, (void *)(intptr_t)pair[1]));
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		return;
	}
	peer_process_start(pair[0], pair[1]);
	close(pair[1]);
}

void peer_start_own(void)
{
	own_link = (struct link){.channel = -1};
	link_used = &own_link;
	room = malloc(ROOM);
	peer_start();
}

void hush(bool on)
{
	hushed = on;
}

bool went_wrong(void)
{
	return link_used->bad_answer || complaints;
}

void later(int ms)
{
	link_used->delay = ms;
}

void quietly(void)
{
	link_used->quiet = true;
}

static void describe(const struct peer_order *order, char text[64])
{
	static const char *const names[PEER_DOES] = {"nothing",  "listens",    "accepts",  "connects",   "echoes",  "sends",   "sends all",
						     "dribbles", "receives",   "takes",    "takes back", "records", "mirrors", "crosses",
						     "drains",   "shuts down", "closes",   "resets",     "polls",   "pending", "blocks",
						     "sets",     "signals",    "stops us", "ends",       "names",   "opens",   "connects",
						     "sends",    "receives",   "echoes"};

	switch (order->does) {
	case PEER_UDP_SEND:
	case PEER_UDP_RECV:
	case PEER_SEND ... PEER_MIRROR:
		snprintf(text, 64, "peer %s %ld", names[order->does], order->count);
		break;
	default:
		snprintf(text, 64, "peer %s", names[order->does]);
	}
}

static bool as_it_should(const struct peer_order *order, const struct peer_answer *answer)
{
	if (answer->bad)
		return false;
	if (order->does == PEER_UDP_SEND || order->does == PEER_UDP_RECV)
		return answer->result == order->count;
	if (order->does >= PEER_ECHO && order->does <= PEER_MIRROR)
		return answer->result == order->count;
	return answer->result >= 0 && (order->does != PEER_DRAIN || !answer->error);
}

static void print_answer(const struct peer_order *order, const struct peer_answer *answer)
{
	char text[64];

	if (hushed) {
		link_used->bad_answer |= answer->bad;
		return;
	}
	if (link_used->quiet && as_it_should(order, answer)) {
		link_used->quiet = false;
		return;
	}
	link_used->quiet = false;
	describe(order, text);
	if (order->does == PEER_POLL && answer->result >= 0)
		say("%s -> %s", text, POLLED((unsigned)answer->result));
	else if ((order->does == PEER_DRAIN || order->does == PEER_RECV_ALL) && answer->error)
		say("%s -> %ld, then %s", text, answer->result, strerrorname_np(answer->error));
	else
		say("%s -> %s", text, show_result(answer->result, answer->error, (char[48]){0}));
	if (answer->bad)
		say("BAD CONTENT at the peer");
}

static struct peer_answer get_answer(const struct peer_order *order)
{
	struct peer_answer answer = {0};

	if (wire_take_answer(link_used->channel, &answer))
		print_answer(order, &answer);
	else if (order->does != PEER_END)
		say("the peer is gone");
	return answer;
}

struct peer_answer peer_ask(struct peer_order order)
{
	order.delay_ms = link_used->delay;
	MUST(wire_send_order(link_used->channel, &order) ? 0 : -1);
	if (link_used->delay) {
		link_used->delay = 0;
		link_used->waiting = order;
		return (struct peer_answer){0};
	}
	return get_answer(&order);
}

void peer_wait(void)
{
	get_answer(&link_used->waiting);
}

long peer_send_flags(struct end *e, long count, int flags)
{
	return peer_ask((struct peer_order){.does = PEER_SEND, .number = e->number, .count = count, .flags = flags}).result;
}

long peer_send(struct end *e, long count)
{
	return peer_send_flags(e, count, 0);
}

void peer_send_all(struct end *e, long count)
{
	peer_ask((struct peer_order){.does = PEER_SEND_ALL, .number = e->number, .count = count});
}

void peer_dribble(struct end *e, long count, long each)
{
	peer_ask((struct peer_order){.does = PEER_DRIBBLE, .number = e->number, .count = count, .more = each});
}

long peer_recv(struct end *e, long count, int flags)
{
	return peer_ask((struct peer_order){.does = PEER_RECV, .number = e->number, .count = count, .flags = flags}).result;
}

void peer_recv_all(struct end *e, long count)
{
	peer_ask((struct peer_order){.does = PEER_RECV_ALL, .number = e->number, .count = count});
}

void peer_recv_back(struct end *e, long count)
{
	peer_ask((struct peer_order){.does = PEER_RECV_BACK, .number = e->number, .count = count});
}

void peer_records(struct end *e, long count, long each)
{
	peer_ask((struct peer_order){.does = PEER_RECORDS, .number = e->number, .count = count, .more = each});
}

void peer_drain(struct end *e)
{
	peer_ask((struct peer_order){.does = PEER_DRAIN, .number = e->number});
}

void peer_shutdown(struct end *e, int how)
{
	peer_ask((struct peer_order){.does = PEER_SHUTDOWN, .number = e->number, .flags = how});
}

void peer_close(struct end *e)
{
	peer_ask((struct peer_order){.does = PEER_CLOSE, .number = e->number});
}

void peer_reset(struct end *e)
{
	peer_ask((struct peer_order){.does = PEER_RESET, .number = e->number});
}

void peer_poll(struct end *e, int events, int ms)
{
	peer_ask((struct peer_order){.does = PEER_POLL, .number = e->number, .flags = events, .count = ms});
}

void peer_pending(struct end *e)
{
	peer_ask((struct peer_order){.does = PEER_PENDING, .number = e->number});
}

void peer_nonblock(struct end *e, bool on)
{
	peer_ask((struct peer_order){.does = PEER_NONBLOCK, .number = e->number, .flags = on});
}

void peer_option(const struct end *e, int level, int option, int value)
{
	quietly();
	peer_ask((struct peer_order){.does = PEER_OPTION, .number = e->number, .flags = option, .count = level, .more = value});
}

void peer_signal(int number)
{
	peer_ask((struct peer_order){.does = PEER_SIGNAL, .flags = number, .count = getpid(), .more = syscall(SYS_gettid)});
}

void peer_stop_and_go(void)
{
	peer_ask((struct peer_order){.does = PEER_STOP_AND_GO, .count = getpid()});
}

void peer_end(void)
{
	peer_ask((struct peer_order){.does = PEER_END});
	waitpid(peer_process, NULL, 0);
}

void peer_kill(int number)
{
	kill(peer_process, number);
	if (number == SIGKILL)
		waitpid(peer_process, NULL, 0);
}
