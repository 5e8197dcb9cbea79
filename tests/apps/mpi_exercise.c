/*
 * An MPI program that checks every byte it is sent: messages of all sizes (with `small`: of less than all), blocking and not, collectives,
 * communicators, and (with `spawn`) ranks that it starts and that end. Rank 0 prints a line an exercise; it is the same for each run with
 * as many ranks.
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST (4 << 20)
#define WINDOW  32

static int rank, ranks;
static size_t largest = LARGEST;
static int rounds = 8;
static uint64_t checked; /* bytes this rank has compared */

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "rank %d: ", rank);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	MPI_Abort(MPI_COMM_WORLD, 1);
	abort();
}

static unsigned char *buffer(size_t size)
{
	unsigned char *p = malloc(size + 1);

	if (!p)
		die("no memory");
	return p;
}

/* The content of a message: another one for each sender, tag and size. */
static uint64_t step(uint64_t x)
{
	return x * 6364136223846793005u + 1442695040888963407u;
}

static void fill(unsigned char *p, size_t size, int sender, int tag)
{
	uint64_t x = ((uint64_t)sender << 40) ^ ((uint64_t)tag << 20) ^ size;

	for (size_t i = 0; i < size; i++)
		p[i] = (x = step(x)) >> 56;
}

static void check(const unsigned char *p, size_t size, int sender, int tag)
{
	uint64_t x = ((uint64_t)sender << 40) ^ ((uint64_t)tag << 20) ^ size;

	for (size_t i = 0; i < size; i++)
		if (p[i] != (unsigned char)((x = step(x)) >> 56))
			die("byte %zu of a message of %zu from %d with tag %d is wrong", i, size, sender, tag);
	checked += size;
}

static void report(const char *what)
{
	unsigned long long mine = checked, all;

	MPI_Reduce(&mine, &all, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
	if (rank == 0)
		printf("%s: %llu bytes\n", what, all);
	checked = 0;
}

/* 0, 1, and each power of two with its neighbours. */
static size_t next_size(size_t size)
{
	size_t power = 1;

	while (power < size)
		power *= 2;
	if (size < 2)
		return size + 1;
	if (size == power - 1)
		return power;
	if (size == power)
		return power + 1;
	return power - 1 > size ? power - 1 : power;
}

static void exchange(int peer, size_t size, unsigned char *out, unsigned char *in)
{
	MPI_Status status;
	int got;

	fill(out, size, rank, 1);
	if (rank < peer) {
		MPI_Send(out, (int)size, MPI_BYTE, peer, 1, MPI_COMM_WORLD);
		MPI_Recv(in, LARGEST, MPI_BYTE, peer, 1, MPI_COMM_WORLD, &status);
	} else {
		MPI_Recv(in, LARGEST, MPI_BYTE, peer, 1, MPI_COMM_WORLD, &status);
		MPI_Ssend(out, (int)size, MPI_BYTE, peer, 1, MPI_COMM_WORLD);
	}
	MPI_Get_count(&status, MPI_BYTE, &got);
	if ((size_t)got != size)
		die("%d bytes from %d, wanted %zu", got, peer, size);
	check(in, size, peer, 1);
}

/* Each rank with each other one, blocking, all sizes. */
static void point_to_point(void)
{
	unsigned char *out = buffer(LARGEST), *in = buffer(LARGEST);

	for (int distance = 1; distance < ranks; distance++) {
		int peer = rank ^ distance;

		for (size_t size = 0; size <= largest; size = next_size(size))
			if (peer < ranks)
				exchange(peer, size, out, in);
	}
	free(out);
	free(in);
	report("point to point");
}

/* Many messages of mixed sizes under way at once, in a ring, received in the other order of their tags. */
static void non_blocking(void)
{
	int to = (rank + 1) % ranks, from = (rank + ranks - 1) % ranks;
	unsigned char *out[WINDOW], *in[WINDOW];
	MPI_Request request[2 * WINDOW];
	size_t size[WINDOW];

	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < WINDOW; i++) {
			size[i] = step(round * WINDOW + i) >> (44 + i % 16);
			out[i] = buffer(size[i]);
			in[i] = buffer(size[i]);
			fill(out[i], size[i], rank, i);
		}
		for (int i = 0; i < WINDOW; i++)
			MPI_Irecv(in[WINDOW - 1 - i], (int)size[WINDOW - 1 - i], MPI_BYTE, from, WINDOW - 1 - i, MPI_COMM_WORLD,
				  &request[i]);
		for (int i = 0; i < WINDOW; i++)
			MPI_Isend(out[i], (int)size[i], MPI_BYTE, to, i, MPI_COMM_WORLD, &request[WINDOW + i]);
		MPI_Waitall(2 * WINDOW, request, MPI_STATUSES_IGNORE);
		for (int i = 0; i < WINDOW; i++) {
			check(in[i], size[i], from, i);
			free(out[i]);
			free(in[i]);
		}
	}
	report("non-blocking");
}

/* Everybody sends to rank 0, which takes what comes. */
static void any_source(void)
{
	unsigned char *data = buffer(100000);

	for (int i = 0; i < 50; i++) {
		size_t size = (size_t)i * 2000;

		if (rank) {
			fill(data, size, rank, i);
			MPI_Send(data, (int)size, MPI_BYTE, 0, i, MPI_COMM_WORLD);
			continue;
		}
		for (int n = 1; n < ranks; n++) {
			MPI_Status status;

			MPI_Probe(MPI_ANY_SOURCE, i, MPI_COMM_WORLD, &status);
			MPI_Recv(data, 100000, MPI_BYTE, status.MPI_SOURCE, i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
			check(data, size, status.MPI_SOURCE, i);
		}
	}
	free(data);
	report("any source");
}

static void collectives_of(MPI_Comm comm, size_t size)
{
	int me, n, count = (int)size;

	MPI_Comm_rank(comm, &me);
	MPI_Comm_size(comm, &n);
	unsigned char *one = buffer(size), *all = buffer(size * n), *others = buffer(size * n);
	uint64_t *sums = (uint64_t *)buffer((size / 8 + 1) * 8), *total = (uint64_t *)buffer((size / 8 + 1) * 8);

	for (int root = 0; root < n; root++) {
		fill(one, size, me, 2);
		MPI_Gather(one, count, MPI_BYTE, all, count, MPI_BYTE, root, comm);
		for (int i = 0; me == root && i < n; i++)
			check(all + i * size, size, i, 2);
		MPI_Scatter(all, count, MPI_BYTE, one, count, MPI_BYTE, root, comm);
		check(one, size, me, 2);
		fill(one, size, me == root ? root : n, 3);
		MPI_Bcast(one, count, MPI_BYTE, root, comm);
		check(one, size, root, 3);
	}
	fill(one, size, me, 4);
	MPI_Allgather(one, count, MPI_BYTE, all, count, MPI_BYTE, comm);
	for (int i = 0; i < n; i++) {
		check(all + i * size, size, i, 4);
		fill(all + i * size, size, me, 5 + i);
	}
	MPI_Alltoall(all, count, MPI_BYTE, others, count, MPI_BYTE, comm);
	for (int i = 0; i < n; i++)
		check(others + i * size, size, i, 5 + me);
	for (size_t i = 0; i < size / 8; i++)
		sums[i] = i * (me + 1);
	MPI_Allreduce(sums, total, count / 8, MPI_UINT64_T, MPI_SUM, comm);
	for (size_t i = 0; i < size / 8; i++)
		if (total[i] != i * n * (n + 1) / 2)
			die("sum %zu is wrong", i);
	MPI_Scan(sums, total, count / 8, MPI_UINT64_T, MPI_SUM, comm);
	for (size_t i = 0; i < size / 8; i++)
		if (total[i] != i * (me + 1) * (me + 2) / 2)
			die("partial sum %zu is wrong", i);
	MPI_Barrier(comm);
	free(one);
	free(all);
	free(others);
	free(sums);
	free(total);
}

static void collectives(void)
{
	for (size_t size = 1; size <= largest / 4; size *= 8)
		collectives_of(MPI_COMM_WORLD, size);
	for (int i = 0; i < 200; i++)
		MPI_Barrier(MPI_COMM_WORLD);
	report("collectives");
}

static void communicators(void)
{
	MPI_Comm copy, half, reversed;

	for (int i = 0; i < 10; i++) {
		MPI_Comm_dup(MPI_COMM_WORLD, &copy);
		MPI_Comm_split(copy, rank % 2, rank, &half);
		MPI_Comm_split(copy, 0, -rank, &reversed);
		collectives_of(half, 1000);
		collectives_of(reversed, 100);
		MPI_Comm_free(&reversed);
		MPI_Comm_free(&half);
		MPI_Comm_free(&copy);
	}
	report("communicators");
}

/* Parent and children exchange a message each way and part. */
static void with_child(MPI_Comm other, int sender, int receiver)
{
	unsigned char *data = buffer(1 << 20);

	fill(data, 1 << 20, sender, 7);
	MPI_Sendrecv_replace(data, 1 << 20, MPI_BYTE, 0, 7, 0, 7, other, MPI_STATUS_IGNORE);
	check(data, 1 << 20, receiver, 7);
	free(data);
}

/* Once a run: Open MPI 4.1 itself hangs now and then when ranks are started a second time. */
static void spawn(const char *program)
{
	char *arguments[] = {"child", NULL};
	int errors[2];
	MPI_Comm children;

	MPI_Comm_spawn(program, arguments, 2, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &children, errors);
	if (rank == 0)
		with_child(children, 1000, 2000);
	MPI_Barrier(children);
	MPI_Comm_disconnect(&children);
	report("spawned");
}

/* A line of PMI-1 to whoever started the rank, and the line that answers it. */
static void tell_launcher(const char *line)
{
	const char *named = getenv("PMI_FD");
	int fd = named ? atoi(named) : -1;
	char c = 0;

	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		die("the launcher can't be told %s", line);
	while (c != '\n')
		if (read(fd, &c, 1) != 1)
			die("the launcher doesn't answer %s", line);
}

/*
 * The end without MPI_Finalize, in which UCX waits for ever now and then (tests/apps/mpich.sh). A rank may go once no other needs it, and
 * must not be seen to go by one that still looks: all write a byte to a file when they have made their last call, and wait until it is
 * there. To the launcher it is an end like that by MPI_Finalize: hydra takes a rank that says nothing for one that failed, tells the
 * others, and loses their exit statuses if they end meanwhile.
 */
static void leave(const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct stat status = {0};

	MPI_Barrier(MPI_COMM_WORLD);
	if (fd < 0 || fflush(stdout) || write(fd, "", 1) != 1)
		die("%s can't be written", file);
	while (!fstat(fd, &status) && status.st_size < ranks)
		usleep(10000);
	tell_launcher("cmd=finalize\n");
	_exit(0);
}

int main(int argc, char **argv)
{
	MPI_Comm parent;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	MPI_Comm_get_parent(&parent);
	if (parent != MPI_COMM_NULL) {
		if (rank == 0)
			with_child(parent, 2000, 1000);
		MPI_Barrier(parent);
		MPI_Comm_disconnect(&parent);
	} else if (argc > 1 && !strcmp(argv[1], "spawn")) {
		spawn(argv[0]);
	} else if (argc > 1 && !strcmp(argv[1], "short")) {
		collectives_of(MPI_COMM_WORLD, 10000);
		report("short");
	} else {
		if (argc > 1 && !strcmp(argv[1], "small")) {
			largest = 1 << 18;
			rounds = 2;
		}
		point_to_point();
		non_blocking();
		any_source();
		collectives();
		communicators();
	}
	if (getenv("MPI_EXERCISE_LEAVES"))
		leave(getenv("MPI_EXERCISE_LEAVES"));
	MPI_Finalize();
	return 0;
}
