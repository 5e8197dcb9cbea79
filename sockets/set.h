/*
 * Event sets (epoll). The real set in the kernel has every registration, and while a thread sleeps in it, it alone decides. Awake, a set
 * looks at its *hot* streams: those whose reader's side is CONSENT, LIVE or SEALED. Invariant: a stream in one of these states that is
 * registered in a set is on that set's hot list; who puts a thread to sleep in the set walks the list and takes each to ASLEEP or TAKEN
 * first. Lock order: set, outer before inner, then stream (rx_lock), then the list of a stream's registrations (set_list.c).
 */
#ifndef CW_SOCKETS_SET_H
#define CW_SOCKETS_SET_H

#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

#include "stream.h"

struct cw_set;
struct cw_item;
struct cw_datagram;

/* The program has made an event set. */
void cw_set_open(int epfd);
void cw_set_dup(struct cw_set *set, int epfd);
/* The number, already out of the table, is about to be closed. While a thread waits for the set, it lives on, as the kernel's does. */
void cw_set_close(uint32_t index, int epfd);
struct cw_set *cw_set_of(int epfd);
/*
 * Who waits for a set, in the kernel or looking, holds it: another thread may close it meanwhile, and its place be used for the next one.
 * NULL: epfd is no set of ours, or no longer.
 */
struct cw_set *cw_set_hold(int epfd);
void cw_set_release(struct cw_set *set);

/*
 * epoll_ctl(2), by the kernel, and noted. Of a set that isn't ours (NULL), that of another program, or beyond those that there is room for,
 * nothing can be noted: what is added to it goes back to the kernel.
 */
int cw_set_control(struct cw_set *set, int epfd, int operation, int fd, struct epoll_event *event);
/*
 * epoll_ctl(2) of a moved stream, as far as nobody but this process's next wait needs to know of it: kept here and told to the kernel
 * before it is next asked, if by then it still makes a difference. Programs that ask for POLLOUT before each send and POLLIN before each
 * receive change their minds without a system call. False: do it at once.
 */
bool cw_set_defer(struct cw_set *set, int epfd, int operation, int fd, const struct epoll_event *event, int *result);
/* Tell the kernel all that was deferred: the set is about to be seen by others. */
void cw_set_flush_all(void);

/* A descriptor of ours that sets need for as long as the process lives. */
bool cw_set_is_waker(int fd);

/* epoll_wait(2) and kin, of any set; timeout_ns -1: none. */
int cw_set_wait(int epfd, struct epoll_event *events, int max, int64_t timeout_ns, const sigset_t *mask);

/* For those who wait on the set's own descriptor (poll, an outer set): is something in it ready by ring? */
bool cw_set_ready(struct cw_set *set);
/* Put all of it to sleep; false: something is ready, nobody sleeps. cw_set_rise ends what cw_set_settle returned true for. */
bool cw_set_settle(struct cw_set *set);
void cw_set_rise(struct cw_set *set);

/* For the steps of a stream (switch.c): enter locks the stream's set, if it is in one; it may come to another meanwhile. False, nothing
 * locked: a thread sleeps there, or there are several sets, or too many are hot. */
bool cw_set_enter(struct cw_stream *stream, struct cw_item **in_set);
void cw_set_leave(struct cw_item *in_set);
void cw_set_heat(struct cw_item *in_set);
bool cw_set_asleep(const struct cw_stream *stream);
bool cw_set_alone(const struct cw_stream *stream); /* in one set, or none; under the rx lock, which ADD passes through */
bool cw_set_shared(const struct cw_stream *stream);
bool cw_set_hot_or_none(const struct cw_stream *stream);
/* A stream offered or awake without a set has been registered meanwhile. */
void cw_set_notice(struct cw_stream *stream);

/* Take the stream out of all sets in the kernel by hand: its socket will outlive its last descriptor. */
void cw_set_leave_all(struct cw_stream *stream);
/* fd is being closed: the kernel forgets the registrations with the last descriptor of the socket. */
void cw_set_forget_descriptor(struct cw_stream *stream, int fd, bool last);
/* The set is passed on as a descriptor: whoever gets it asks the kernel alone, so what is registered goes back there, and stays. */
void cw_set_pass(struct cw_set *set);
void cw_set_leave_datagrams(struct cw_set *set);
void cw_set_forget_datagram(struct cw_datagram *socket, int fd, bool last);
/* After fork, in the child: no other thread is left that could hold a lock or sleep; the sets are shared with the parent now. */
void cw_set_after_fork(void);

#endif
