/* Programs that say nonsense, nothing, or too much: the service goes on serving the others, and keeps nothing of theirs. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play.h"

/* Random words where numbers should be, of any size and with any descriptors. */
static void say_nonsense(int fd, unsigned *seed, const int *descriptors, unsigned count)
{
	struct {
		struct cw_message message;
		char more[64];
	} words;
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * 8)];
	} control = {.room = {0}};
	struct iovec part = {&words, 0};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	unsigned fds = (unsigned)rand_r(seed) % 4 == 0 ? 1 + (unsigned)rand_r(seed) % 8 : 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(int); i++)
		((int *)(void *)&words)[i] = rand_r(seed) % 3 ? rand_r(seed) % 64 : (int)((unsigned)rand_r(seed) * 2);
	if (rand_r(seed) % 8) {
		words.message.magic = CW_MESSAGE_MAGIC + CW_LAYOUT;
		words.message.type = (unsigned)rand_r(seed) % (CW_MESSAGE_TYPES + 2);
	}
	if (words.message.type == CW_STOP || words.message.type == CW_RUN)
		words.message.type = CW_OFFER;
	part.iov_len = rand_r(seed) % 8 ? sizeof(words.message) : (size_t)rand_r(seed) % sizeof(words);
	if (fds) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * fds);
		for (unsigned i = 0; i < fds; i++)
			memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &descriptors[(unsigned)rand_r(seed) % count], sizeof(int));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
	}
	sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

START_TEST(nonsense_harms_nobody)
{
	struct service service = service_start(NULL);
	struct pair pair = connection(NULL);
	int descriptors[] = {pair.end[0], pair.end[1], open("/dev/null", O_RDONLY), socket(AF_UNIX, SOCK_DGRAM, 0), 2};
	unsigned seed = 20 + (unsigned)_i, before;

	check_serves(&service);
	before = descriptors_of(service.pid);
	for (int round = 0; round < 30; round++) {
		struct program a = program_start(&service);
		int stranger = cw_link_connect(service.name);

		for (int i = 0; i < 100; i++)
			say_nonsense(i % 4 ? a.fd : stranger, &seed, descriptors, CW_ARRAY_SIZE(descriptors));
		check_serves(&service);
		program_end(&a);
		close(stranger);
	}
	await_descriptors(&service, before + 1);
	service_await(&service, "programs", 0);
	service_await(&service, "slots", 0);
	service_await(&service, "offers_waiting", 0);
	ck_assert_int_gt(service_status(&service, "counters.misused"), 0);
	service_end(&service);
}
END_TEST

/* Messages of no type; offers of what is no socket, with numbers that no program has. */
START_TEST(too_much_nonsense_ends_the_connection)
{
	static const enum cw_message_type types[] = {CW_MESSAGE_TYPES + 1, CW_OFFER, CW_FLOW, CW_FLOW};
	struct service service = service_start(NULL);
	struct program a = program_start(&service);
	struct cw_message nonsense = cw_link_message(types[_i]);
	struct pollfd look = {.fd = a.fd, .events = POLLOUT};
	int sent = 0, file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool shows = types[_i] == CW_OFFER || types[_i] == CW_FLOW;

	if (_i == 1)
		nonsense.offer.token.index = UINT32_MAX;
	else if (_i == 3)
		nonsense.flow.token.index = UINT32_MAX;
	while (cw_link_send(a.fd, &nonsense, &file, shows ? 1 : 0) == 0 || errno == EAGAIN || errno == ETOOMANYREFS) {
		ck_assert_int_lt(sent++, 1000000);
		ck_assert_int_eq(poll(&look, 1, LIMIT_MS), 1);
	}
	close(file);
	ck_assert_int_eq(service_status(&service, "counters.expelled"), 1);
	check_serves(&service);
	service_end(&service);
}
END_TEST

/* What a thread opens where another has closed, while that is shown. */
START_TEST(offers_of_what_was_closed_expel_nobody)
{
	enum { RACES = 600 };
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL), other = connection(NULL);
	struct grant grants[2];
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (uint32_t i = 0; i < RACES; i++) {
		uint32_t read = atomic_load(&a.book->offers);

		offer_saying(&a, i % 2 ? file : other.end[0], i % 100, cookie_of(pair.end[0]));
		while (atomic_load(&a.book->offers) == read)
			usleep(20);
	}
	close(file);
	service_await(&service, "counters.offers_refused", RACES);
	ck_assert_int_eq(service_status(&service, "counters.misused"), 0);
	move(&a, &b, &pair, 0, grants);
	service_end(&service);
}
END_TEST

static void ask(int fd, const struct cw_message *message)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};

	ck_assert_int_eq(poll(&room, 1, LIMIT_MS), 1);
	ck_assert_int_eq(cw_link_send(fd, message, NULL, 0), 0);
}

/* Not of the status, by a command: who waits for something asks for it again and again. Of a search in a book that is as large as it can
 * be, and names no such connection. */
START_TEST(who_asks_for_much_has_to_rest)
{
	enum { STATUSES = 150, SEARCHES = 100 };
	struct service service = service_start(NULL);
	struct program writer = program_start(&service), reader = program_start(&service);
	struct cw_message status = cw_link_message(CW_STATUS), search = cw_link_message(CW_RESEND);
	struct pair pair = connection(NULL);
	int command = cw_link_connect(service.name);
	struct grant grants[2];

	for (int i = 0; i < STATUSES && !_i; i++) {
		struct cw_received answer = {0};

		ask(command, &status);
		ck_assert(cw_link_answer(command, CW_STATUS, &answer, LIMIT_MS));
		ck_assert_int_eq(answer.message.status, 0);
		close(answer.fd[0]);
	}
	move(&writer, &reader, &pair, 0, grants);
	atomic_store(&writer.book->highest, CW_BOOK_ENTRIES);
	search.grant = grants[1].message.grant;
	for (int i = 0; i < SEARCHES && _i; i++)
		ask(reader.fd, &search);
	if (_i)
		release(&reader, &grants[1]);
	if (_i)
		service_await(&service, "counters.held", 1);
	else
		ck_assert_int_eq(service_status(&service, "counters.held"), 0);
	check_serves(&service);
	if (_i)
		await_marks(&grants[0].slot->direction[grants[0].message.grant.end].state, CW_MARK_READER_GONE);
	ck_assert_int_eq(service_status(&service, "counters.misused"), 0);
	close(command);
	service_end(&service);
}
END_TEST

START_TEST(ends_that_are_not_held_cannot_be_released)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service), c = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2], wrong;

	move(&a, &b, &pair, 0, grants);
	release(&c, &grants[0]);
	release(&a, &grants[1]);
	for (int i = 0; i < 4; i++) {
		wrong = grants[0];
		if (i == 0)
			wrong.message.grant.arena++;
		else if (i == 1)
			wrong.message.grant.slot = wrong.message.grant.slots;
		else if (i == 2)
			wrong.message.grant.slot = UINT32_MAX;
		else
			wrong.message.grant.end = 2;
		release(&a, &wrong);
	}
	ck_assert(!has_message(&service, &a));
	ck_assert_int_eq(service_status(&service, "counters.misused"), 4); /* an arena that it doesn't map may be an earlier instance's */
	ck_assert_int_eq(service_status(&service, "slots"), 1);
	ck_assert_uint_eq(grants[0].slot->direction[0].state & CW_MARKS, 0);
	release(&a, &grants[0]);
	release(&a, &grants[0]); /* twice */
	release(&b, &grants[1]);
	service_await(&service, "slots", 0);
	ck_assert_int_eq(service_status(&service, "counters.misused"), 5);
	service_end(&service);
}
END_TEST

/* A slot given back before its grant was fetched: the grant that still waits must not be sent into freed memory. */
START_TEST(a_slot_is_released_before_its_grant_is_fetched)
{
	enum { CONNECTIONS = 600 };
	struct service service = service_start(NULL);
	struct program slow = program_start(&service), other = program_start(&service);
	struct grant first = {.memory = -1}, guess;

	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct pair pair = connection(NULL);
		struct grant grant;

		offer(&slow, pair.end[0], i);
		offer(&other, pair.end[1], i);
		grant = await_grant(&other);
		if (!i)
			first = grant;
		guess = grant;
		guess.message.grant.end = 1 - grant.message.grant.end;
		release(&slow, &guess);
		release(&other, &grant);
		connection_end(&pair);
	}
	ck_assert_ptr_nonnull(first.slot);
	service_await(&service, "slots", 0);
	program_end(&other);
	service_await(&service, "programs", 1);
	program_end(&slow);
	service_await(&service, "arenas", 0);
	check_serves(&service);
	service_end(&service);
}
END_TEST

START_TEST(nonsense_in_a_slot_and_a_book_harms_nobody)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct pair pair = connection(NULL);
	struct grant grants[2];
	json_t *list;

	move(&a, &b, &pair, 0, grants);
	memset(grants[0].slot, 0xff, sizeof(*grants[0].slot));
	memset(grants[0].arena->base, 0xff, CW_ARENA_WORDS);
	memset(a.book, 0xff, sizeof(*a.book));
	memset(b.book, 0x01, sizeof(*b.book));
	list = service_ask(&service, CW_LIST);
	ck_assert(json_is_array(list));
	json_decref(list);
	program_end(&a);
	program_end(&b);
	service_await(&service, "slots", 0);
	check_serves(&service);
	service_end(&service);
}
END_TEST

static uint64_t some_word(unsigned *seed)
{
	switch (rand_r(seed) % 4) {
	case 0:
		return 0;
	case 1:
		return (uint64_t)rand_r(seed) % (2 * CW_RING_MAX);
	case 2:
		return UINT64_MAX - (uint64_t)rand_r(seed) % 4;
	default:
		return 1ull << rand_r(seed) % 64;
	}
}

/* A slot whose reader asks the service to send its bytes again (service_resend.c): the words say where and how many they are. */
START_TEST(nonsense_in_a_ring_that_is_sent_again)
{
	struct service service = service_start(NULL);
	struct program writer, reader;
	unsigned seed = 70 + (unsigned)_i, before;

	check_serves(&service);
	before = descriptors_of(service.pid);
	writer = program_start(&service);
	reader = program_start(&service);
	for (int round = 0; round < 60; round++) {
		struct pair pair = connection(NULL);
		struct cw_message message = cw_link_message(CW_RESEND);
		struct cw_direction *words;
		struct grant grants[2];

		move(&writer, &reader, &pair, 0, grants);
		enter_moved(&writer, 0, &grants[0], pair.end[0]);
		words = &grants[0].slot->direction[grants[0].message.grant.end];
		words->widx = some_word(&seed);
		words->roff = some_word(&seed);
		words->up = rand_r(&seed) % 2 ? 0 : some_word(&seed);
		words->ring_bits = (uint32_t)(rand_r(&seed) % 4 ? 10u + (unsigned)rand_r(&seed) % 10 : some_word(&seed));
		words->tx_lock.holder = (uint32_t)(rand_r(&seed) % 8 ? 0 : some_word(&seed));
		words->state = (rand_r(&seed) % 8 ? CW_ASLEEP : (unsigned)rand_r(&seed) % 8) | CW_MARK_RESEND;
		message.grant = grants[1].message.grant;
		for (int times = 1 + rand_r(&seed) % 3; times > 0; times--)
			ck_assert_int_eq(cw_link_send(reader.fd, &message, NULL, 0), 0);
		release(&writer, &grants[0]);
		release(&reader, &grants[1]);
		for (int i = 0; i < 2; i++)
			if (grants[i].memory >= 0)
				close(grants[i].memory);
		connection_end(&pair);
	}
	check_serves(&service);
	service_await(&service, "slots", 0);
	ck_assert_int_eq(service_status(&service, "counters.misused"), 0);
	/* How many arenas the two had depends on how soon the service came round to what they sent it. */
	program_end(&writer);
	program_end(&reader);
	await_descriptors(&service, before);
	service_end(&service);
}
END_TEST

/* The last close of a socket with SO_LINGER and unsent bytes waits for them; the service must not. */
START_TEST(silent_clients_are_only_counted)
{
	struct service service = service_start(NULL);
	int silent[200];

	for (unsigned i = 0; i < CW_ARRAY_SIZE(silent); i++) {
		silent[i] = cw_link_connect(service.name);
		ck_assert_int_ge(silent[i], 0);
	}
	check_serves(&service);
	for (unsigned i = 0; i < CW_ARRAY_SIZE(silent); i++)
		close(silent[i]);
	check_serves(&service);
	await_descriptors(&service, 20);
	service_end(&service);
}
END_TEST

static void stop_as_nobody(const struct service *service)
{
	struct cw_message stop = cw_link_message(CW_STOP);
	struct cw_received answer = {0};
	int fd;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(2);
	fd = cw_link_connect(service->name);
	if (cw_link_send(fd, &stop, NULL, 0) < 0 || !cw_link_answer(fd, CW_STOP, &answer, LIMIT_MS))
		_exit(3);
	_exit(answer.message.status == EPERM ? 0 : 4);
}

START_TEST(another_user_cannot_stop_it)
{
	struct service service;
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip("needs root, to become another user");
	service = service_start(NULL);
	child = fork();
	if (child == 0)
		stop_as_nobody(&service);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	check_serves(&service);
	service_end(&service);
}
END_TEST

/* Reports that nobody takes: each keeps a child of the service busy for as long as that may take. */
static void report_as_nobody(const struct service *service, int full)
{
	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(2);
	for (int i = 0; i < 24; i++) {
		struct cw_message question = cw_link_message(CW_RUN);
		struct cw_received answer = {0};
		int fd = cw_link_connect(service->name);

		if (cw_link_send(fd, &question, &full, 1) < 0 || !cw_link_answer(fd, CW_RUN, &answer, LIMIT_MS))
			_exit(3);
	}
	_exit(0);
}

START_TEST(another_user_cannot_keep_it_busy)
{
	struct service service;
	static char bytes[1 << 16];
	int status, full[2];
	pid_t child;

	if (geteuid() != 0)
		skip("needs root, to become another user");
	service = service_start(NULL);
	ck_assert_int_eq(pipe2(full, O_CLOEXEC), 0);
	ck_assert_int_eq(write(full[1], bytes, sizeof(bytes)), sizeof(bytes));
	child = fork();
	if (child == 0)
		report_as_nobody(&service, full[1]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	sleep(1); /* longer than the grace: the reports are being written */
	json_decref(service_ask(&service, CW_LIST));
	service_kill(&service);
}
END_TEST

static void list_as_nobody(const struct service *service)
{
	struct program own;
	json_t *list;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(2);
	own = program_start(service);
	own.book->entry[0].kind = CW_ENTRY_OPEN;
	own.book->highest = 1;
	list = service_ask(service, CW_LIST);
	_exit(json_array_size(list) == 1 ? 0 : 1);
}

START_TEST(another_user_sees_its_own_sockets_alone)
{
	struct service service;
	struct program program;
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip("needs root, to become another user");
	service = service_start(NULL);
	program = program_start(&service);
	for (unsigned i = 0; i < 3; i++)
		program.book->entry[i].kind = CW_ENTRY_OPEN;
	program.book->highest = 3;
	child = fork();
	if (child == 0)
		list_as_nobody(&service);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	service_end(&service);
}
END_TEST

/* What honest programs do when connections end early, or when the service was another one: they are not cut off for it. */
START_TEST(bad_luck_is_no_nonsense)
{
	struct service service = service_start(NULL);
	struct program a = program_start(&service), b = program_start(&service);
	struct linger abort = {.l_onoff = 1};
	struct pair pair = connection(NULL);
	struct grant grants[2], old;

	move(&a, &b, &pair, 0, grants);
	old = grants[0];
	old.message.grant.arena += 12345;
	for (int i = 0; i < 600; i++) {
		struct pair ended = connection(NULL);

		setsockopt(ended.end[1], SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(ended.end[1]);
		offer(&a, ended.end[0], 1);
		close(ended.end[0]);
		release(&a, &old);
		withdraw(&a, 77);
		service_status(&service, "slots");
	}
	ck_assert_int_eq(service_status(&service, "counters.misused"), 0);
	service_await(&service, "counters.offers_refused", 600);
	ck_assert_int_eq(service_status(&service, "slots"), 1);
	service_end(&service);
}
END_TEST

TCase *hostile_tests(void)
{
	TCase *tests = tcase_create("hostile");

	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(tests, nonsense_harms_nobody, 0, 4);
	tcase_add_loop_test(tests, nonsense_in_a_ring_that_is_sent_again, 0, 2);
	tcase_add_loop_test(tests, too_much_nonsense_ends_the_connection, 0, 4);
	tcase_add_test(tests, offers_of_what_was_closed_expel_nobody);
	tcase_add_loop_test(tests, who_asks_for_much_has_to_rest, 0, 2);
	tcase_add_test(tests, ends_that_are_not_held_cannot_be_released);
	tcase_add_test(tests, a_slot_is_released_before_its_grant_is_fetched);
	tcase_add_test(tests, nonsense_in_a_slot_and_a_book_harms_nobody);
	tcase_add_test(tests, silent_clients_are_only_counted);
	tcase_add_test(tests, bad_luck_is_no_nonsense);
	tcase_add_test(tests, another_user_cannot_stop_it);
	tcase_add_test(tests, another_user_cannot_keep_it_busy);
	tcase_add_test(tests, another_user_sees_its_own_sockets_alone);
	return tests;
}
