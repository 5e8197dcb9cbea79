/* What a program has to say to its service while that doesn't read: it is said when it does, all of it and once. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/link.h"
#include "node/service.h"
#include "sockets/kept.h"
#include "sockets/service.h"

#define WORDS 2000u /* some hundred have room */
#define MORE  50u

static char name[64];

static int listen_as_service(void)
{
	struct sockaddr_un address;
	socklen_t length;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(name, sizeof(name), "causeway/test/kept/%d", (int)getpid());
	ck_assert(cw_link_address(name, &address, &length));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

static int node_page(void)
{
	int fd = memfd_create("node page", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(ftruncate(fd, sizeof(struct cw_node_page)), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	return fd;
}

static int welcome_program(int listener)
{
	struct cw_message answer = cw_link_message(CW_WELCOME);
	struct cw_received hello = {0};
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), fds[2] = {-1, node_page()};

	ck_assert(cw_link_answer(fd, CW_HELLO, &hello, 10000));
	ck_assert_ptr_nonnull(cw_book_make(&fds[0]));
	answer.welcome.number = 1;
	answer.welcome.book_size = sizeof(struct cw_book);
	answer.welcome.node_size = sizeof(struct cw_node_page);
	ck_assert_int_eq(cw_link_send(fd, &answer, fds, 2), 0);
	return fd;
}

static void let_go(uint32_t slot)
{
	struct cw_stream stream = {.arena = 7, .slot_number = slot};

	cw_service_release(&stream);
}

/* Gives back so many slots, then one more whenever it is asked. */
__attribute__((noreturn)) static void be_program(int asked, int told)
{
	char byte = 0;

	alarm(60);
	cw_service_start(name, 0);
	if (!cw_service_register())
		_exit(1);
	for (uint32_t i = 0; i < WORDS; i++)
		let_go(i);
	for (uint32_t i = WORDS; write(told, &byte, 1) == 1 && read(asked, &byte, 1) == 1; i++)
		let_go(i);
	_exit(0);
}

static uint32_t hear(int fd, bool heard[])
{
	struct cw_received received = {0};
	uint32_t count = 0;

	while (cw_link_receive(fd, &received) > 0) {
		ck_assert_uint_eq(received.message.type, CW_RELEASE);
		ck_assert_uint_lt(received.message.grant.slot, WORDS + MORE);
		ck_assert(!heard[received.message.grant.slot]);
		heard[received.message.grant.slot] = true;
		count++;
	}
	return count;
}

START_TEST(nothing_is_lost_while_the_service_does_not_read)
{
	static bool heard[WORDS + MORE];
	int listener = listen_as_service(), asked[2], told[2], fd;
	uint32_t count, more = 0;
	pid_t program;
	char byte = 0;

	ck_assert_int_eq(pipe2(asked, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
	program = fork();
	if (program == 0) {
		close(asked[1]);
		close(told[0]);
		be_program(asked[0], told[1]);
	}
	close(asked[0]);
	close(told[1]);
	fd = welcome_program(listener);
	ck_assert_int_eq(read(told[0], &byte, 1), 1);
	count = hear(fd, heard);
	ck_assert_uint_gt(count, 0);
	ck_assert_uint_lt(count, WORDS); /* or it had room for all */
	while (count < WORDS + more && more < MORE) {
		more++;
		ck_assert_int_eq(write(asked[1], &byte, 1), 1);
		ck_assert_int_eq(read(told[0], &byte, 1), 1);
		count += hear(fd, heard);
	}
	ck_assert_uint_eq(count, WORDS + more);
	close(asked[1]);
	ck_assert_int_eq(waitpid(program, NULL, 0), program);
}
END_TEST

static unsigned said;

static bool say_three(const struct cw_message *message)
{
	return said < 3 && ++said;
}

START_TEST(what_was_said_is_not_kept)
{
	struct cw_message message = {.type = CW_RELEASE};

	ck_assert(cw_kept_say(say_three));
	ck_assert_uint_eq(said, 0);
	for (int i = 0; i < 5; i++)
		ck_assert(cw_kept_put(&message));
	ck_assert(!cw_kept_say(say_three));
	ck_assert_uint_eq(said, 3);
	said = 0;
	ck_assert(cw_kept_say(say_three));
	ck_assert_uint_eq(said, 2);
	ck_assert(cw_kept_put(&message));
	cw_kept_drop();
	ck_assert(cw_kept_say(say_three));
	ck_assert_uint_eq(said, 2);
}
END_TEST

START_TEST(there_is_an_end_to_it)
{
	struct cw_message message = {.type = CW_RELEASE};
	int kept = 0;

	while (cw_kept_put(&message))
		ck_assert_int_lt(kept++, 100000);
	cw_kept_drop();
	ck_assert(cw_kept_put(&message));
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("kept", 90, &runner);

	tcase_add_test(units, nothing_is_lost_while_the_service_does_not_read);
	tcase_add_test(units, what_was_said_is_not_kept);
	tcase_add_test(units, there_is_an_end_to_it);
	return run_units(runner);
}
