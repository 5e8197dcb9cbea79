#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"
#include "service_channel.h"
#include "service_named.h"
#include "sockets/datagram.h"
#include "sync/cpu.h"

#define TURN          64  /* messages of one program before the others have theirs */
#define MOST_NONSENSE 256 /* then the connection is closed */

static struct cw_source listener = {.fd = -1};
static struct cw_program *buried;
static int reserve = -1; /* given up for a moment to turn away a client when no descriptor is left */

uint64_t cw_new_number(void)
{
	return service.instance + ++service.numbers;
}

/* drained: nothing is left unread that could hold descriptors of any kind, whose last close can block. */
static void end(struct cw_program *program, bool drained)
{
	struct cw_mapping *mapping, *next;

	if (program->dead)
		return;
	program->dead = true;
	if (program->mappings)
		cw_tally(CW_SERVICE_deaths);
	cw_loop_remove(&program->source);
	cw_offers_drop(program);
	cw_flow_offers_drop(program);
	cw_outbox_drop(program);
	HASH_ITER(hh, program->mappings, mapping, next)
	{
		cw_mapping_let_go(mapping);
		cw_mapping_drop(mapping);
	}
	cw_run_leave(program);
	cw_run_unkept(program);
	cw_place_forget(program);
	if (program->number)
		HASH_DELETE(hh, service.programs, program);
	cw_children_drop(program);
	cw_book_drop(program->book);
	program->book = NULL; /* whoever is in the middle of a message of it looks */
	cw_closing_forget(program);
	DL_DELETE(service.all, program);
	if (drained)
		close(program->source.fd);
	else
		cw_close_elsewhere(program, program->source.fd);
	cw_user_leave(program->user);
	DL_APPEND(buried, program);
}

void cw_program_end(struct cw_program *program)
{
	end(program, false);
}

void cw_programs_bury(void)
{
	struct cw_program *program, *next;

	DL_FOREACH_SAFE(buried, program, next)
	{
		DL_DELETE(buried, program);
		free(program);
	}
}

void cw_nonsense(struct cw_program *program)
{
	cw_tally(CW_SERVICE_misused);
	if (++program->nonsense < MOST_NONSENSE || program->dead)
		return;
	cw_tally(CW_SERVICE_expelled);
	cw_program_end(program);
}

static void from_program(struct cw_program *program, struct cw_received *received)
{
	const struct cw_message *message = &received->message;

	switch (message->type) {
	case CW_OFFER:
	case CW_FLOW:
		if (received->truncated) {
			cw_tally(CW_SERVICE_offers_refused); /* perhaps because we have no descriptor left */
		} else if (received->fds == 1) {
			received->fds = 0;
			if (message->type == CW_OFFER) {
				cw_offer(program, message, received->fd[0]);
			} else {
				cw_flow_offered(program, message, received->fd[0]);
				cw_offer_taken(program);
			}
		} else {
			cw_nonsense(program);
		}
		break;
	case CW_WITHDRAW:
		if (message->offer.token.index & CW_FLOW_TOKEN)
			cw_flow_withdrawn(program, message);
		else
			cw_withdraw(program, message);
		break;
	case CW_RELEASE:
		cw_release(program, message);
		break;
	case CW_RESEND:
		cw_resend_asked(program, message);
		break;
	default:
		cw_nonsense(program);
	}
}

static void from_anybody(struct cw_program *program, struct cw_received *received)
{
	const struct cw_message *message = &received->message;

	if (received->size != sizeof(*message) || message->magic != CW_MESSAGE_MAGIC + CW_LAYOUT) {
		if (program->number || (message->magic & 0xffff0000) != CW_MESSAGE_MAGIC)
			cw_nonsense(program);
		else
			cw_refuse_layout(program);
		return;
	}
	switch (message->type) {
	case CW_HELLO:
		if (program->children)
			cw_nonsense(program);
		else
			cw_hello(program, message);
		break;
	case CW_CHILDREN:
		cw_children_asked(program, message);
		break;
	case CW_RUN:
		cw_run_begin(program, received);
		break;
	case CW_LIST:
		cw_list(program);
		break;
	case CW_STATUS:
		cw_status(program);
		break;
	case CW_STOP:
		cw_stop(program, message);
		break;
	case CW_WINDOWS:
		cw_windows_list(program);
		break;
	case CW_WINDOW:
		cw_window_asked(program, message, received->fds == 1 ? received->fd[0] : -1);
		break;
	case CW_NODES:
		cw_nodes_asked(program, message);
		break;
	case CW_CLUSTER:
		cw_reload_asked(program);
		break;
	default:
		if (program->number)
			from_program(program, received);
		else
			cw_nonsense(program);
	}
}

/* False when there is nothing more to read now. */
static bool read_one(struct cw_program *program)
{
	struct cw_received received;
	ssize_t got;

	memset(&received.message, 0, sizeof(received.message));
	got = cw_link_receive(program->source.fd, &received);
	if (got == 0 && !received.known) /* with a sender it is an empty message, not the end */
		end(program, true);
	/* ECONNRESET is told once, before what came earlier. */
	if (got < 0 || program->dead)
		return !program->dead && (errno == EINTR || errno == ECONNRESET);
	if (received.known && received.sender.pid)
		program->pid = received.sender.pid;
	from_anybody(program, &received);
	while (received.fds)
		cw_close_foreign(program, received.fd[--received.fds]);
	return !program->dead && !program->held;
}

/* Nothing was said on it, and nothing can be any more: its close doesn't wait for what was sent with a word. */
static bool was_silent(int fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char byte;
	struct iovec part = {&byte, 1};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	return shutdown(fd, SHUT_RDWR) == 0 && recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT) == 0 && !header.msg_controllen;
}

static void program_ready(struct cw_source *source, uint32_t events)
{
	struct cw_program *program = (struct cw_program *)source;
	unsigned turn = 0;

	if (program->resting && !program->dead && events & (EPOLLHUP | EPOLLERR))
		end(program, was_silent(program->source.fd));
	if (program->dead || cw_closing_holds(program))
		return;
	if (program->outbox)
		cw_outbox_flush(program);
	while (turn < TURN && read_one(program))
		turn++;
	if (!program->dead && !program->held && turn < TURN && events & (EPOLLHUP | EPOLLERR))
		cw_program_end(program);
}

/* Those that wait to be closed are not bounded, so who said nothing is none of them. */
static void refuse(uid_t uid, int fd)
{
	if (was_silent(fd))
		close(fd);
	else
		cw_close_of_user(uid, fd);
}

static void start_program(int fd)
{
	struct cw_program *program = calloc(1, sizeof(*program));

	if (!program) {
		close(fd);
		return;
	}
	program->source = (struct cw_source){.fd = fd, .ready = program_ready};
	if (cw_link_peer(fd, &program->peer))
		program->user = cw_user_enter(program->peer.uid);
	program->pid = program->peer.pid;
	if (!program->user || cw_loop_add(&program->source, EPOLLIN | EPOLLRDHUP) < 0) {
		refuse(program->peer.uid, fd);
		if (program->user)
			cw_user_leave(program->user);
		cw_tally(CW_SERVICE_programs_refused);
		free(program);
		return;
	}
	DL_APPEND(service.all, program);
}

/* Without this a listener that can't be served stays readable, and the loop turns for nothing. */
static void turn_away(void)
{
	int fd;

	close(reserve);
	fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0 && was_silent(fd))
		close(fd);
	else if (fd >= 0)
		cw_close_elsewhere(NULL, fd);
	cw_tally(CW_SERVICE_programs_refused);
	reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool cw_accept_waiting(void)
{
	bool any = false;

	for (int turn = 0; turn < TURN; turn++) {
		int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			turn_away();
		if (fd < 0)
			break;
		any = true;
		start_program(fd);
	}
	return any;
}

static void listener_ready(struct cw_source *source, uint32_t events)
{
	cw_accept_waiting();
}

int cw_listen(void)
{
	struct sockaddr_un address;
	socklen_t length;
	int one = 1;

	if (!cw_link_address(service.name, &address, &length)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	listener = (struct cw_source){.ready = listener_ready};
	listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener.fd < 0 || setsockopt(listener.fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0 ||
	    bind(listener.fd, (struct sockaddr *)&address, length) < 0 || listen(listener.fd, 4096) < 0)
		return -1;
	return cw_loop_add(&listener, EPOLLIN);
}

void cw_listen_end(void)
{
	cw_loop_remove(&listener);
	close(listener.fd);
	listener.fd = -1;
}
