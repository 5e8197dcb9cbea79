/*
 * A PVM program: the first task spawns workers, which send each other and it packed data of all sizes, by the daemon and by connections of
 * their own (PvmRouteDirect, TCP), in XDR and raw; each checks every number. The first adds a host
 * if it is told one, and prints a line an exercise.
 */
#include <pvm3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 3
#define LARGEST (1 << 20)

enum tag { TEAM = 1, NUMBERS, ANSWER, ROUND, TOKEN, END };

static int team[WORKERS], parent, me;

static void fail(const char *what, long a, long b)
{
	fprintf(stderr, "task %d: %s: %ld, %ld\n", me, what, a, b);
	pvm_exit();
	exit(1);
}

static int number(int size, int i)
{
	return (int)((unsigned)i * 2654435761u) ^ size;
}

static void pack(int size)
{
	static int numbers[LARGEST];

	for (int i = 0; i < size; i++)
		numbers[i] = number(size, i);
	pvm_pkint(&size, 1, 1);
	pvm_pkint(numbers, size, 1);
}

static void send_numbers(int to, int tag, int encoding, int size)
{
	pvm_initsend(encoding);
	pack(size);
	if (pvm_send(to, tag) < 0)
		fail("send", to, size);
}

static int unpack(void)
{
	static int numbers[LARGEST];
	int size;

	pvm_upkint(&size, 1, 1);
	if (size < 0 || size > LARGEST)
		fail("size", size, 0);
	pvm_upkint(numbers, size, 1);
	for (int i = 0; i < size; i++)
		if (numbers[i] != number(size, i))
			fail("content", size, i);
	return size;
}

static int receive_numbers(int from, int tag)
{
	if (pvm_recv(from, tag) < 0)
		fail("receive", from, tag);
	return unpack();
}

static void answer(int from)
{
	int encoding, size;

	pvm_upkint(&encoding, 1, 1);
	size = unpack();
	send_numbers(from, ANSWER, encoding, size);
}

/* To the next of the team, and at last to who sent it. */
static void pass_on(void)
{
	int self = 0, left;

	while (team[self] != me)
		self++;
	pvm_upkint(&left, 1, 1);
	left--;
	pvm_initsend(PvmDataDefault);
	pvm_pkint(&left, 1, 1);
	pvm_send(left ? team[(self + 1) % WORKERS] : parent, left ? TOKEN : ROUND);
}

static void work(void)
{
	int bytes, tag, from;

	pvm_recv(parent, TEAM);
	pvm_upkint(team, WORKERS, 1);
	for (;;) {
		pvm_bufinfo(pvm_recv(-1, -1), &bytes, &tag, &from);
		if (tag == END)
			return;
		if (tag == NUMBERS)
			answer(from);
		if (tag == TOKEN)
			pass_on();
	}
}

static void ask(int worker, int encoding, int size)
{
	pvm_initsend(encoding);
	pvm_pkint(&encoding, 1, 1);
	pack(size);
	if (pvm_send(team[worker], NUMBERS) < 0)
		fail("send", worker, size);
}

/* All workers at once, each answer as it went. */
static void sizes(const char *name, int encoding, int most)
{
	long total = 0;

	for (int size = 0; size <= most; size = size * 5 + 1) {
		for (int i = 0; i < WORKERS; i++)
			ask(i, encoding, size);
		for (int i = 0; i < WORKERS; i++)
			total += receive_numbers(team[i], ANSWER);
	}
	printf("%s: %ld numbers\n", name, total);
}

static void many(int count)
{
	long total = 0;

	for (int i = 0; i < count; i++)
		ask(i % WORKERS, PvmDataDefault, i % 50);
	for (int i = 0; i < count; i++)
		total += receive_numbers(-1, ANSWER);
	printf("%d messages: %ld numbers\n", count, total);
}

static void around(int rounds)
{
	int left = rounds * WORKERS + 1;

	pvm_initsend(PvmDataDefault);
	pvm_pkint(&left, 1, 1);
	pvm_send(team[0], TOKEN);
	pvm_recv(-1, ROUND);
	pvm_upkint(&left, 1, 1);
	printf("a token went around %d times, %d left\n", rounds, left);
}

static void direct_or_not(char *program, int route, const char *name)
{
	char *words[] = {(char *)name, NULL};
	int started;

	pvm_setopt(PvmRoute, route);
	started = pvm_spawn(program, words, PvmTaskDefault, "", WORKERS, team);
	if (started != WORKERS)
		fail("spawn", started, team[0]);
	pvm_initsend(PvmDataDefault);
	pvm_pkint(team, WORKERS, 1);
	pvm_mcast(team, WORKERS, TEAM);
	printf("%s:\n", name);
	sizes("in XDR", PvmDataDefault, 100000);
	sizes("raw", PvmDataRaw, LARGEST);
	many(5000);
	around(1000);
	pvm_initsend(PvmDataDefault);
	pvm_mcast(team, WORKERS, END);
}

static void add_host(char *name)
{
	int info = 0, hosts = pvm_addhosts(&name, 1, &info);

	if (hosts != 1 || info < 0)
		fail("host", hosts, info);
}

int main(int argc, char **argv)
{
	me = pvm_mytid();
	if (me < 0)
		fail("no daemon", me, 0);
	parent = pvm_parent();
	if (parent > 0) {
		pvm_setopt(PvmRoute, argc > 1 && !strcmp(argv[1], "direct") ? PvmRouteDirect : PvmDontRoute);
		work();
	} else {
		if (argc > 1)
			add_host(argv[1]);
		direct_or_not(argv[0], PvmDontRoute, "by the daemon");
		direct_or_not(argv[0], PvmRouteDirect, "direct");
	}
	pvm_exit();
	return 0;
}
