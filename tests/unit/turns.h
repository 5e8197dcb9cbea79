/* Two threads that share a processor and its turns: the other runs only if this one lets it. */
#ifndef CW_TESTS_UNIT_TURNS_H
#define CW_TESTS_UNIT_TURNS_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of one priority. False: SCHED_FIFO is not permitted here, and there is no other. */
static inline bool on_one_processor(pthread_t *other, void *(*run)(void *))
{
	struct sched_param first = {.sched_priority = 1};
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0 && syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first) == 0 &&
	       pthread_create(other, NULL, run, NULL) == 0;
}

#endif
