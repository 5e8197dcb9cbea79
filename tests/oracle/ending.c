/* Ends of streams: half-close, close, reset, death. */
#define FAMILY "ending"
#include "oracle.h"
#include "peer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static void show_state(struct end *e)
{
	struct pollfd p = {e->fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
	int error = -1;
	socklen_t length = sizeof(error);

	CALL(poll(&p, 1, 0));
	say("  %s", POLLED((unsigned)p.revents));
	getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	say("  error %s", error ? strerrorname_np(error) : "0");
}

SCENARIO(peer_shuts_down, 0)
{
	peer_send(e, 10);
	peer_shutdown(e, SHUT_WR);
	arrive(e, 10);
	rest();
	show_state(e);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, MSG_DONTWAIT));
	show_state(e);
	for (int i = 0; i < 5; i++) {
		SEND(e, 1000, send(e->fd, room, 1000, 0));
		peer_recv_all(e, 1000);
	}
	CALL(shutdown(e->fd, SHUT_WR));
	peer_drain(e);
	rest();
	show_state(e);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(we_shut_down, 0)
{
	SEND(e, 10, send(e->fd, room, 10, 0));
	CALL(shutdown(e->fd, SHUT_WR));
	show_state(e);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(send(e->fd, room, 0, MSG_NOSIGNAL));
	peer_drain(e);
	for (int i = 0; i < 5; i++) {
		peer_send(e, 1000);
		arrive(e, 1000);
		RECV(e, recv(e->fd, room, ROOM, 0));
	}
	later(40);
	peer_send(e, 10);
	RECV(e, recv(e->fd, room, 100, 0));
	peer_wait();
	peer_close(e);
	rest();
	CALL(recv(e->fd, room, 100, 0));
	show_state(e);
	CALL(shutdown(e->fd, SHUT_WR));
	CALL(shutdown(e->fd, SHUT_RDWR));
}

SCENARIO(we_shut_reading, 0)
{
	peer_send(e, 10);
	arrive(e, 10);
	CALL(shutdown(e->fd, SHUT_RD));
	show_state(e);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	peer_send(e, 20);
	arrive(e, 20);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	peer_shutdown(e, SHUT_WR);
	rest();
	show_state(e);
}

SCENARIO(we_shut_both, 0)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	peer_send(e, 10);
	arrive(e, 10);
	CALL(shutdown(e->fd, SHUT_RDWR));
	show_state(e);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 100, MSG_NOSIGNAL));
	peer_drain(e);
	peer_poll(e, POLLIN | POLLOUT | POLLRDHUP, 0);
	peer_close(e);
	rest();
	show_state(e);
	CALL(shutdown(e->fd, SHUT_WR));
}

SCENARIO(shut_down_wrongly, 0)
{
	CALL(shutdown(e->fd, 3));
	CALL(shutdown(e->fd, -1));
	CALL(shutdown(-1, SHUT_WR));
	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
}

SCENARIO(large_before_the_end, 0)
{
	later(1);
	peer_send_all(e, 1 << 20);
	take(e, 1 << 20);
	peer_wait();
	peer_send_all(e, 60000);
	peer_close(e);
	rest();
	take(e, 60000);
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(we_close_after_much, 0)
{
	give(e, 60000);
	CALL(close(e->fd));
	rest();
	peer_drain(e);
	peer_close(e);
}

SCENARIO(peer_closes, 0)
{
	peer_send(e, 10);
	peer_close(e);
	arrive(e, 10);
	rest();
	show_state(e);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	show_state(e);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	rest();
	show_state(e);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	show_state(e);
}

SCENARIO(peer_closes_while_we_sleep, 0)
{
	later(50);
	peer_close(e);
	CALL(recv(e->fd, room, 100, 0));
	peer_wait();
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(peer_closes_with_unread, 0)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	rest();
	peer_close(e);
	rest();
	show_state(e);
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

SCENARIO(peer_closes_with_unread_before_recv, 0)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	rest();
	peer_close(e);
	rest();
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(peer_closes_with_unread_before_send, 0)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	rest();
	peer_close(e);
	rest();
	CALL(send(e->fd, room, 100, MSG_NOSIGNAL));
	CALL(send(e->fd, room, 100, MSG_NOSIGNAL));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(both_have_unread, 0)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	peer_send(e, 50);
	arrive(e, 50);
	rest();
	peer_close(e);
	rest();
	RECV(e, recv(e->fd, room, 20, 0));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	show_state(e);
}

SCENARIO(we_close_with_unread, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	CALL(close(e->fd));
	rest();
	peer_recv(e, 10, 0);
	peer_recv(e, 10, 0);
	peer_send(e, 10);
}

SCENARIO(we_close_half_read, 0)
{
	SEND(e, 30, send(e->fd, room, 30, 0));
	peer_send(e, 100);
	arrive(e, 100);
	RECV(e, recv(e->fd, room, 99, 0));
	CALL(close(e->fd));
	rest();
	peer_recv(e, 100, 0);
	peer_recv(e, 100, 0);
}

SCENARIO(peer_resets, 0)
{
	peer_reset(e);
	rest();
	show_state(e);
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

SCENARIO(peer_resets_after_bytes, 0)
{
	peer_send(e, 100);
	arrive(e, 100);
	peer_reset(e);
	rest();
	RECV(e, recv(e->fd, room, 30, 0));
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	show_state(e);
}

SCENARIO(peer_resets_while_we_sleep, 0)
{
	later(50);
	peer_reset(e);
	CALL(recv(e->fd, room, 100, 0));
	peer_wait();
	CALL(recv(e->fd, room, 100, 0));
	show_state(e);
}

SCENARIO(peer_resets_while_we_poll, 0)
{
	struct pollfd p = {e->fd, POLLIN, 0};

	later(50);
	peer_reset(e);
	CALL(poll(&p, 1, 5000));
	say("  %s", POLLED((unsigned)p.revents));
	peer_wait();
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(we_reset, 0)
{
	struct linger now = {1, 0};

	SEND(e, 100, send(e->fd, room, 100, 0));
	rest();
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	CALL(close(e->fd));
	rest();
	peer_poll(e, POLLIN | POLLOUT | POLLRDHUP, 0);
	peer_recv(e, 40, 0);
	peer_recv(e, 100, 0);
	peer_recv(e, 100, 0);
	peer_recv(e, 100, 0);
}

SCENARIO(we_linger, 0)
{
	struct linger second = {1, 1};

	SEND(e, 100, send(e->fd, room, 100, 0));
	CALL(setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &second, sizeof(second)));
	later(10);
	peer_drain(e);
	CALL(close(e->fd));
	peer_wait();
}

SCENARIO(peer_exits, ALONE)
{
	peer_send(e, 10);
	arrive(e, 10);
	peer_end();
	rest();
	show_state(e);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	rest();
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

SCENARIO(peer_killed, ALONE)
{
	peer_send(e, 10);
	arrive(e, 10);
	peer_kill(SIGKILL);
	rest();
	show_state(e);
	RECV(e, recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	rest();
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	show_state(e);
}

SCENARIO(peer_killed_with_unread, ALONE)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	rest();
	peer_kill(SIGKILL);
	rest();
	show_state(e);
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

/* What failed has shut nothing: its death is a reset still. */
SCENARIO(peer_killed_after_a_wrong_shutdown, ALONE)
{
	peer_shutdown(e, 3);
	SEND(e, 100, send(e->fd, room, 100, 0));
	rest();
	peer_kill(SIGKILL);
	rest();
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(peer_killed_with_much_unread, ALONE)
{
	give(e, 100000);
	rest();
	peer_kill(SIGKILL);
	rest();
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(peer_killed_with_bytes_both_ways, ALONE)
{
	SEND(e, 100, send(e->fd, room, 100, 0));
	peer_send(e, 5000);
	arrive(e, 5000);
	rest();
	peer_kill(SIGKILL);
	rest();
	take(e, 5000);
	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
}

SCENARIO(peer_killed_while_we_sleep, ALONE)
{
	pid_t killer = CHILD({
		close(e->fd);
		settle_down();
		kill(peer_process, SIGKILL);
	});

	CALL(recv(e->fd, room, 100, 0));
	CALL(recv(e->fd, room, 100, 0));
	reap(killer);
}

SCENARIO(peer_killed_while_it_sleeps, ALONE)
{
	later(1);
	peer_recv_all(e, 10);
	settle_down();
	peer_kill(SIGKILL);
	rest();
	show_state(e);
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	rest();
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

SCENARIO(peer_killed_after_half_close, ALONE)
{
	peer_shutdown(e, SHUT_WR);
	rest();
	show_state(e);
	peer_kill(SIGKILL);
	rest();
	show_state(e);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	rest();
	show_state(e);
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
}

SCENARIO(peer_killed_while_stuffed, ALONE)
{
	narrow(e);
	say("full: %d", stuff(e));
	pid_t killer = CHILD({
		close(e->fd);
		settle_down();
		kill(peer_process, SIGKILL);
	});

	CALL(send(e->fd, room, 10000, MSG_NOSIGNAL));
	CALL(send(e->fd, room, 10000, MSG_NOSIGNAL));
	reap(killer);
}

SCENARIO(we_are_killed, ALONE)
{
	pid_t child = CHILD({
		SEND(e, 100, send(e->fd, room, 100, 0));
		raise(SIGKILL);
	});

	close(e->fd);
	reap(child);
	rest();
	peer_drain(e);
}

SCENARIO(error_is_told_once, 0)
{
	int error = -1;
	socklen_t length = sizeof(error);

	peer_reset(e);
	rest();
	CALL(getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &length));
	say("  %s", strerrorname_np(error));
	CALL(getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &error, &length));
	say("  %s", error ? strerrorname_np(error) : "0");
	CALL(recv(e->fd, room, 100, 0));
	CALL(send(e->fd, room, 100, MSG_NOSIGNAL));
}

SCENARIO(disconnect, 0)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	SEND(e, 10, send(e->fd, room, 10, 0));
	peer_recv_all(e, 10);
	CALL(connect(e->fd, &none, sizeof(none)));
	CALL(send(e->fd, room, 10, MSG_NOSIGNAL));
	CALL(recv(e->fd, room, 10, 0));
	rest();
	peer_recv(e, 10, 0);
	peer_recv(e, 10, 0);
}

SCENARIO(closed_descriptor, 0)
{
	CALL(close(e->fd));
	CALL(recv(e->fd, room, 10, 0));
	CALL(send(e->fd, room, 10, 0));
	CALL(close(e->fd));
	peer_drain(e);
	struct pollfd p = {e->fd, POLLIN, 0};

	CALL(poll(&p, 1, 0));
	say("  %s", POLLED((unsigned)p.revents));
}

SCENARIO(nothing_is_left_to_send, 0)
{
	int unsent = -1;
	uint64_t limit = now_ms() + 3000;

	SEND(e, 1000, send(e->fd, room, 1000, 0));
	peer_recv_all(e, 1000);
	while (!ioctl(e->fd, TIOCOUTQ, &unsent) && unsent && now_ms() < limit)
		rest();
	say("unsent %d", unsent);
	CALL(ioctl(e->fd, FIONREAD, &unsent));
	say("unread %d", unsent);
}

SCENARIO(unread_is_counted, 0)
{
	int n = -1;

	for (int i = 1; i < 6; i++) {
		peer_send(e, 1000 * i);
		rest();
		CALL(ioctl(e->fd, FIONREAD, &n));
		say("  %d", n);
	}
	RECV(e, recv(e->fd, room, 700, 0));
	CALL(ioctl(e->fd, FIONREAD, &n));
	say("  %d", n);
	peer_send_all(e, 40000);
	rest();
	arrive(e, 54300);
	CALL(ioctl(e->fd, FIONREAD, &n));
	say("  %d", n);
	RECV(e, recv(e->fd, room, ROOM, 0));
	CALL(ioctl(e->fd, FIONREAD, &n));
	say("  %d", n);
	peer_shutdown(e, SHUT_WR);
	rest();
	CALL(ioctl(e->fd, FIONREAD, &n));
	say("  %d", n);
	SEND(e, 3000, send(e->fd, room, 3000, 0));
	rest();
	peer_pending(e);
	peer_recv_all(e, 3000);
	peer_pending(e);
}

/* More than a ring takes at first, and the end behind it: a read has all of it. */
SCENARIO(shut_behind_a_full_ring, 0)
{
	static const long sizes[] = {1000, 16384, 16385, 17139, 30000, 50000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct end next;

		open_end(&next, manner.family, manner.mapped);
		there_and_back(&next, 100, 10);
		peer_send(&next, sizes[i] / 3);
		peer_send(&next, sizes[i] - sizes[i] / 3);
		peer_shutdown(&next, SHUT_WR);
		arrive(&next, (int)sizes[i]);
		RECV(&next, recv(next.fd, room, ROOM, 0));
		RECV(&next, recv(next.fd, room, ROOM, 0));
		close(next.fd);
		peer_close(&next);
	}
}

/* Who has shut both ways is sent more, which the kernel answers by a reset; what came before can be read. */
SCENARIO(shut_both_and_sent_more, 0)
{
	for (int unread = 0; unread < 40; unread += 20) {
		struct end other;

		open_end(&other, manner.family, manner.mapped);
		if (unread) {
			peer_send(&other, unread);
			arrive(&other, unread);
		}
		if (unread)
			CALL(shutdown(other.fd, SHUT_RDWR));
		else
			CALL(shutdown(other.fd, SHUT_WR) | shutdown(other.fd, SHUT_RD));
		peer_send(&other, 10);
		rest();
		peer_send(&other, 10);
		RECV(&other, recv(other.fd, room, 15, 0));
		RECV(&other, recv(other.fd, room, 15, 0));
		CALL(recv(other.fd, room, 15, 0));
	}
}
