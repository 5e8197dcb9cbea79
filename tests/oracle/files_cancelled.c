/* FILE streams, and threads with a pending cancel: libc's own acts on it in some calls, gives the FILE back then, and in others does not.
 */
#define FAMILY "stdio"
#include "files.h"

#include <pthread.h>
#include <stdio.h>

struct used {
	FILE *file;
	int fd, how;
	bool behind;
};

static void use(const struct used *u)
{
	char line[32];

	switch (u->how) {
	case 0:
		fputs("some\n", u->file);
		fflush(u->file);
		break;
	case 1:
		fgets(line, sizeof(line), u->file);
		break;
	case 2:
		fclose(u->file);
		break;
	case 3:
		dprintf(u->fd, "some%c", '\n');
		break;
	}
}

static void *use_cancelled(void *argument)
{
	struct used *u = argument;

	pthread_cancel(pthread_self());
	use(u);
	u->behind = true;
	pthread_testcancel();
	return NULL;
}

static void *nothing(void *argument)
{
	return argument;
}

static void use_in_thread(struct used *u)
{
	pthread_t thread;
	void *result = NULL;

	MUST(-pthread_create(&thread, NULL, use_cancelled, u));
	MUST(-pthread_join(thread, &result));
	say("%d: cancelled %d, behind the call %d", u->how, result == PTHREAD_CANCELED, u->behind);
}

static FILE *used_file(struct end *e, struct used *u, const char *mode)
{
	u->behind = false;
	u->file = fdopen(dup(e->fd), mode);
	return u->file;
}

SCENARIO(cancelled_in_a_file, 0)
{
	struct used u = {.fd = e->fd};
	pthread_t thread;

	/* musl locks no FILE that was made before there were threads. */
	MUST(-pthread_create(&thread, NULL, nothing, NULL));
	MUST(-pthread_join(thread, NULL));
	for (; u.how < 2; u.how++) {
		used_file(e, &u, u.how ? "r" : "w");
		if (u.how)
			bring(e, "some\n");
		use_in_thread(&u);
		CALL(ftrylockfile(u.file));
		funlockfile(u.file);
		CALL(fclose(u.file));
		if (!u.how)
			echo(e, 5);
		recv(e->fd, room, 5, MSG_DONTWAIT);
	}
	used_file(e, &u, "w");
	use_in_thread(&u);
#ifndef __GLIBC__ /* which leaves a FILE on the stack that has ended in its list */
	u.how++;
	u.behind = false;
	use_in_thread(&u);
	echo(e, 5);
#endif
}
