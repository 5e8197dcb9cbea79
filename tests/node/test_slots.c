/* Slots: who holds them, what is marked when nobody does, and who gets them next. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play.h"

#define GONE (CW_MARK_WRITER_GONE | CW_MARK_READER_GONE)

START_TEST(the_memory_comes_once)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair first = connection(NULL), second = connection(NULL);
	struct grant grants[2], more[2];

	move(&a, &b, &first, 0, grants);
	move(&b, &a, &second, 1, more);
	ck_assert_uint_eq(grants[0].message.grant.arena, more[0].message.grant.arena);
	ck_assert_uint_ne(grants[0].message.grant.slot, more[0].message.grant.slot);
	ck_assert(!more[0].came_with_memory);
	ck_assert(!more[1].came_with_memory);
	service_end(&service);
}
END_TEST

START_TEST(arenas_grow_with_their_pair)
{
	enum { CONNECTIONS = 70 };
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct grant grants[CONNECTIONS][2];
	bool used[4][1024] = {{false}};
	uint64_t arenas[4] = {0};

	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct pair pair = connection(NULL);
		uint32_t slot, which = 0;

		move(&a, &b, &pair, i, grants[i]);
		slot = grants[i][0].message.grant.slot;
		while (arenas[which] && arenas[which] != grants[i][0].message.grant.arena)
			ck_assert_uint_lt(++which, 4);
		arenas[which] = grants[i][0].message.grant.arena;
		ck_assert(!used[which][slot]);
		used[which][slot] = true;
		connection_end(&pair);
	}
	ck_assert_int_eq(service_status(&service, "slots"), CONNECTIONS);
	ck_assert_uint_gt(grants[CONNECTIONS - 1][0].message.grant.slots, grants[0][0].message.grant.slots);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		release(&a, &grants[i][0]);
		release(&b, &grants[i][1]);
	}
	service_await(&service, "slots", 0);
	service_end(&service);
}
END_TEST

START_TEST(a_slot_given_back_is_used_again)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2], again[2];
	uint64_t use;

	move(&a, &b, &pair, 0, grants);
	use = grants[0].slot->use;
	grants[0].slot->direction[0].widx = 77;
	release(&a, &grants[0]);
	/* One end gone: the other is told by marks, and the slot is not free. */
	await_marks(&grants[1].slot->direction[grants[0].message.grant.end].state, CW_MARK_WRITER_GONE);
	ck_assert(grants[1].slot->direction[grants[1].message.grant.end].state & CW_MARK_READER_GONE);
	ck_assert_int_eq(service_status(&service, "slots"), 1);
	release(&b, &grants[1]);
	service_await(&service, "slots", 0);
	connection_end(&pair);
	pair = connection(NULL);
	move(&a, &b, &pair, 5, again);
	ck_assert_uint_eq(again[0].message.grant.slot, grants[0].message.grant.slot);
	ck_assert_uint_eq(again[0].slot->use, use + 1);
	ck_assert_uint_eq(again[0].slot->direction[0].widx, 0);
	ck_assert_uint_eq(again[0].slot->direction[0].state & CW_MARKS, 0);
	service_end(&service);
}
END_TEST

START_TEST(a_death_is_marked)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	uint32_t end;

	move(&a, &b, &pair, 0, grants);
	end = grants[1].message.grant.end;
	grants[0].slot->direction[end].widx = 5;
	program_end(&b);
	await_marks(&grants[0].slot->direction[end].state, CW_MARK_WRITER_GONE);
	await_marks(&grants[0].slot->direction[1 - end].state, CW_MARK_READER_GONE);
	ck_assert_uint_eq(grants[0].slot->direction[end].state & CW_MARK_READER_GONE, 0);
	/* Marks change nothing else: what the dead one wrote can still be read. */
	ck_assert_uint_eq(grants[0].slot->direction[end].widx, 5);
	ck_assert_uint_eq(cw_state_of(grants[0].slot->direction[end].state), CW_TAKEN);
	service_end(&service);
}
END_TEST

START_TEST(a_child_holds_what_its_parent_held)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service), child;
	struct pair pair = connection(NULL);
	struct grant grants[2];
	uint32_t end;

	move(&a, &b, &pair, 0, grants);
	end = grants[1].message.grant.end;
	child = program_child(&service, &b, 0);
	ck_assert_uint_eq(child.status, 0);
	ck_assert_uint_eq(child.inherited, 1);
	grants[0].slot->end[end].holders = 2; /* as the library does before it forks */
	program_end(&b);
	service_await(&service, "programs", 2);
	ck_assert_uint_eq(grants[0].slot->end[end].holders, 1);
	ck_assert_uint_eq((grants[0].slot->direction[0].state | grants[0].slot->direction[1].state) & GONE, 0);
	program_end(&child);
	await_marks(&grants[0].slot->direction[end].state, CW_MARK_WRITER_GONE);
	ck_assert_uint_eq(grants[0].slot->end[end].holders, 0);
	program_end(&a);
	service_await(&service, "arenas", 0);
	service_end(&service);
}
END_TEST

START_TEST(a_holder_that_lets_go_counts_itself)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service), child;
	struct pair pair = connection(NULL);
	struct grant grants[2];
	uint32_t end;

	move(&a, &b, &pair, 0, grants);
	end = grants[1].message.grant.end;
	child = program_child(&service, &b, 0);
	grants[0].slot->end[end].holders = 1; /* the child closed it and counted itself out */
	release(&child, &grants[1]);
	ck_assert(!has_message(&service, &child));
	ck_assert_uint_eq(grants[0].slot->end[end].holders, 1);
	program_end(&child);
	service_await(&service, "programs", 2);
	ck_assert_uint_eq(grants[0].slot->end[end].holders, 1);
	ck_assert_uint_eq(grants[0].slot->direction[end].state & GONE, 0);
	service_end(&service);
}
END_TEST

/* A child maps its parent's arenas. What the parent is given later must not be where the child can look. */
START_TEST(new_slots_are_not_where_a_child_looks)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service), child;
	struct pair pair = connection(NULL), later = connection(NULL), last = connection(NULL);
	struct grant grants[2], more[2], again[2];

	move(&a, &b, &pair, 0, grants);
	child = program_child(&service, &b, 0);
	move(&a, &b, &later, 1, more);
	ck_assert_uint_ne(grants[0].message.grant.arena, more[0].message.grant.arena);
	program_end(&child);
	service_await(&service, "programs", 2);
	move(&a, &b, &last, 2, again);
	ck_assert(!again[0].came_with_memory); /* both arenas are the pair's alone again */
	service_end(&service);
}
END_TEST

/* Neither of root's program, nor of its child, which has not said yet which process it is. */
static void be_another_user(const struct service *service, const struct program *parent, const struct program *silent)
{
	struct program impostor;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(2);
	impostor = program_child(service, parent, 0);
	if (impostor.status != EPERM)
		_exit(3);
	impostor = program_child(service, silent, 0);
	_exit(impostor.status == EPERM ? 0 : 1);
}

START_TEST(a_child_of_another_user_is_refused)
{
	struct service service;
	struct program a, silent;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip("needs root, to become another user");
	service = service_start(NULL);
	a = program_start(&service);
	silent = program_child(&service, &a, 0);
	ck_assert_uint_eq(silent.status, 0);
	pid = fork();
	if (pid == 0)
		be_another_user(&service, &a, &silent);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(program_child(&service, &silent, 0).status, 0);
	service_end(&service);
}
END_TEST

static void be_another_process(const struct service *service, const struct program *parent)
{
	struct program impostor = program_child(service, parent, 0);

	_exit(impostor.status == EPERM ? 0 : 1);
}

START_TEST(a_child_of_somebody_else_is_refused)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), none = {.number = a.number + 1000};
	struct program child;
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		be_another_process(&service, &a);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	child = program_child(&service, &none, 0);
	ck_assert_uint_eq(child.status, EPERM);
	child = program_child(&service, &a, 0);
	ck_assert_uint_eq(child.status, 0);
	service_end(&service);
}
END_TEST

START_TEST(a_dead_partners_arena_goes_cleared_to_the_next)
{
	struct service service = service_start(NULL);
	struct program server = program_start(&service), client = program_start(&service), next;
	struct pair pair = connection(NULL), other = connection(NULL);
	struct grant grants[2], again[2];
	unsigned char *ring;

	move(&server, &client, &pair, 0, grants);
	ring = cw_arena_ring(grants[0].arena, grants[0].message.grant.slot, 0);
	memset(ring, 0xaa, CW_RING_MAX);
	release(&server, &grants[0]);
	program_end(&client);
	service_await(&service, "slots", 0);
	next = program_start(&service);
	move(&server, &next, &other, 1, again);
	ck_assert_uint_eq(again[0].message.grant.arena, grants[0].message.grant.arena);
	ck_assert(!again[0].came_with_memory);
	ck_assert(again[1].came_with_memory);
	ck_assert_uint_eq(bytes_that_are(ring, 0), CW_RING_MAX);
	service_end(&service);
}
END_TEST

START_TEST(many_clients_one_after_the_other_stay_flat)
{
	struct service service = service_start(NULL);
	struct program server = program_start(&service);
	unsigned before = 0;

	for (int i = 0; i < 200; i++) {
		struct program client = program_start(&service);
		struct pair pair = connection(NULL);
		struct grant grants[2];

		move(&server, &client, &pair, 0, grants);
		memset(cw_arena_ring(grants[0].arena, grants[0].message.grant.slot, 0), 1, 4096);
		release(&server, &grants[0]);
		program_end(&client);
		connection_end(&pair);
		close(grants[0].memory);
		close(grants[1].memory);
		service_await(&service, "programs", 1);
		if (i == 10)
			before = descriptors_of(service.pid);
	}
	ck_assert_int_eq(service_status(&service, "arenas"), 1);
	ck_assert_uint_le(descriptors_of(service.pid), before + 2);
	service_end(&service);
}
END_TEST

START_TEST(arenas_are_sealed_and_stay_out_of_dumps)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];

	move(&a, &b, &pair, 0, grants);
	ck_assert_int_lt(ftruncate(grants[0].memory, 4096), 0);
	ck_assert_int_lt(ftruncate(grants[0].memory, 1 << 30), 0);
	service_end(&service);
}
END_TEST

START_TEST(grants_wait_for_a_slow_program)
{
	enum { CONNECTIONS = 1500 };
	struct service service = service_start(NULL);
	struct program slow = program_start(&service), other = program_start(&service);
	bool came[CONNECTIONS] = {false};

	/* Nothing is fetched until its queue is long full. */
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct pair pair = connection(NULL);

		offer(&slow, pair.end[0], i);
		offer(&other, pair.end[1], i);
		await_grant(&other);
		connection_end(&pair);
	}
	ck_assert_int_gt(service_status(&service, "counters.grants_queued"), 0);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct grant grant = await_grant(&slow);

		ck_assert_uint_lt(grant.message.grant.token.index, CONNECTIONS);
		ck_assert(!came[grant.message.grant.token.index]);
		came[grant.message.grant.token.index] = true;
		if (grant.memory >= 0)
			close(grant.memory);
	}
	await_mail(&slow, CONNECTIONS);
	service_end(&service);
}
END_TEST

/* As the reader leaves it: it fell asleep with unread bytes in the ring, and wants them by the kernel. */
static void leave_unread(const struct grant *reader, const char *bytes)
{
	uint32_t writer = 1 - reader->message.grant.end;
	struct cw_direction *direction = &reader->slot->direction[writer];

	memcpy(cw_arena_ring(reader->arena, reader->message.grant.slot, writer), bytes, strlen(bytes));
	direction->widx = strlen(bytes);
	direction->state = CW_ASLEEP | CW_MARK_RESEND;
}

static void ask_resend(const struct program *reader, const struct grant *grant)
{
	struct cw_message message = cw_link_message(CW_RESEND);

	message.grant = grant->message.grant;
	ck_assert_int_eq(cw_link_send(reader->fd, &message, NULL, 0), 0);
}

/* A run of a process that ends at once, and whose report nobody reads. */
static void run_with_report(const struct service *service, int report)
{
	struct cw_message question = cw_link_message(CW_RUN);
	struct cw_received answer = {0};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = cw_link_connect(service->name);

		if (cw_link_send(fd, &question, &report, 1) < 0 || !cw_link_answer(fd, CW_RUN, &answer, LIMIT_MS))
			_exit(1);
		_exit((int)answer.message.status);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static bool list_is_refused(void *argument)
{
	const struct service *service = argument;
	struct cw_message question = cw_link_message(CW_LIST);
	struct cw_received answer = {0};
	int fd = cw_link_connect(service->name);

	ck_assert_int_eq(cw_link_send(fd, &question, NULL, 0), 0);
	ck_assert(cw_link_answer(fd, CW_LIST, &answer, LIMIT_MS));
	cw_received_close(&answer);
	close(fd);
	return answer.message.status == EAGAIN;
}

/* Who keeps the service's children busy keeps them from those who ask, not from a ring's bytes. */
START_TEST(reports_that_nobody_reads_leave_children_to_others)
{
	struct service service = service_start(NULL);
	struct program reader = program_start(&service), writer = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	char got[16] = "";
	int report[2];

	ck_assert_int_eq(pipe2(report, O_NONBLOCK | O_CLOEXEC), 0);
	while (write(report[1], got, 1) == 1)
		;
	ck_assert_int_eq(fcntl(report[1], F_SETFL, 0), 0);
	for (int i = 0; i < 30; i++)
		run_with_report(&service, report[1]);
	await(list_is_refused, &service, "the service to be busy");
	move(&reader, &writer, &pair, 0, grants);
	enter_moved(&writer, 0, &grants[1], pair.end[1]);
	leave_unread(&grants[0], "hello");
	ask_resend(&reader, &grants[0]);
	ck_assert_int_eq(recv(pair.end[0], got, 5, MSG_WAITALL), 5);
	ck_assert_str_eq(got, "hello");
	service_kill(&service);
}
END_TEST

START_TEST(a_rings_bytes_are_sent_again_for_the_writer)
{
	struct service service = service_start(NULL);
	struct program reader = program_start(&service), writer = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	char got[16] = "";

	move(&reader, &writer, &pair, 0, grants);
	enter_moved(&writer, 0, &grants[1], pair.end[1]);
	leave_unread(&grants[0], "hello");
	ask_resend(&reader, &grants[0]);
	ck_assert_int_eq(recv(pair.end[0], got, 5, MSG_WAITALL), 5);
	ck_assert_str_eq(got, "hello");
	service_await(&service, "counters.resent", 1);
	ck_assert_uint_eq(cw_state_of(grants[0].slot->direction[grants[1].message.grant.end].state), CW_TAKEN);
	ck_assert_uint_eq(grants[0].slot->direction[grants[1].message.grant.end].tx_lock.holder, 0);
	release(&reader, &grants[0]);
	release(&writer, &grants[1]);
	service_await(&service, "slots", 0);
	service_end(&service);
}
END_TEST

START_TEST(a_rings_bytes_go_to_no_other_socket)
{
	struct service service = service_start(NULL);
	struct program reader = program_start(&service), liar = program_start(&service);
	struct pair pair = connection(NULL), other = connection(NULL);
	struct timeval limit = {.tv_sec = LIMIT_MS / 1000};
	struct grant grants[2];
	char got[16];

	move(&reader, &liar, &pair, 0, grants);
	leave_unread(&grants[0], "hello");
	for (int i = 0; i < 3; i++) {
		enter_moved(&liar, 0, &grants[1], i == 0 ? other.end[1] : i == 1 ? pair.end[0] : 1000000);
		ask_resend(&reader, &grants[0]);
	}
	/* It is the reader's to ask, and of ends that it holds. */
	ask_resend(&liar, &grants[0]);
	ck_assert(!has_message(&service, &liar));
	ck_assert_int_eq(service_status(&service, "counters.misused"), 0); /* it may have given it back since */
	/* All of them came to nothing: the bytes are still there for the right one. */
	enter_moved(&liar, 0, &grants[1], pair.end[1]);
	ask_resend(&reader, &grants[0]);
	ck_assert_int_eq(setsockopt(pair.end[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	ck_assert_int_eq(recv(pair.end[0], got, 5, MSG_WAITALL), 5);
	service_await(&service, "counters.resent", 1);
	ck_assert_int_lt(recv(pair.end[1], got, 1, MSG_DONTWAIT), 0);
	ck_assert_int_lt(recv(other.end[0], got, 1, MSG_DONTWAIT), 0);
	service_end(&service);
}
END_TEST

START_TEST(ends_that_go_while_bytes_are_sent_again)
{
	struct service service = service_start(NULL);
	struct program reader = program_start(&service), writer = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	static char bytes[1 << 16];

	move(&reader, &writer, &pair, 0, grants);
	enter_moved(&writer, 0, &grants[1], pair.end[1]);
	/* No room: it takes until it gives up. */
	while (send(pair.end[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	leave_unread(&grants[0], "hello");
	ask_resend(&reader, &grants[0]);
	program_end(&reader);
	program_end(&writer);
	service_await(&service, "slots", 0);
	service_await(&service, "arenas", 0);
	service_end(&service);
}
END_TEST

START_TEST(a_new_instance_after_a_kill)
{
	struct service service = service_start(NULL), successor;
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2], again[2];
	char name[64];

	move(&a, &b, &pair, 0, grants);
	strcpy(name, service.name);
	service_kill(&service);
	/* What is shared goes on. */
	grants[0].slot->direction[0].widx = 12;
	ck_assert_uint_eq(grants[1].slot->direction[0].widx, 12);
	successor = service_start_named(name, NULL);
	program_end(&a);
	program_end(&b);
	a = program_start(&successor);
	b = program_start(&successor);
	move(&a, &b, &pair, 0, again);
	ck_assert_uint_ne(again[0].message.grant.arena, grants[0].message.grant.arena);
	service_end(&successor);
}
END_TEST

TCase *slot_tests(void)
{
	TCase *tests = tcase_create("slots");

	tcase_set_timeout(tests, 90);
	tcase_add_test(tests, the_memory_comes_once);
	tcase_add_test(tests, arenas_grow_with_their_pair);
	tcase_add_test(tests, a_slot_given_back_is_used_again);
	tcase_add_test(tests, a_death_is_marked);
	tcase_add_test(tests, a_child_holds_what_its_parent_held);
	tcase_add_test(tests, a_child_of_another_user_is_refused);
	tcase_add_test(tests, reports_that_nobody_reads_leave_children_to_others);
	tcase_add_test(tests, a_holder_that_lets_go_counts_itself);
	tcase_add_test(tests, new_slots_are_not_where_a_child_looks);
	tcase_add_test(tests, a_child_of_somebody_else_is_refused);
	tcase_add_test(tests, a_dead_partners_arena_goes_cleared_to_the_next);
	tcase_add_test(tests, many_clients_one_after_the_other_stay_flat);
	tcase_add_test(tests, arenas_are_sealed_and_stay_out_of_dumps);
	tcase_add_test(tests, grants_wait_for_a_slow_program);
	tcase_add_test(tests, a_rings_bytes_are_sent_again_for_the_writer);
	tcase_add_test(tests, a_rings_bytes_go_to_no_other_socket);
	tcase_add_test(tests, ends_that_go_while_bytes_are_sent_again);
	tcase_add_test(tests, a_new_instance_after_a_kill);
	return tests;
}
