/*
 * Heartbeats. A service that is frozen, or whose machine is, closes nothing, and where both kernels are one its connection is even
 * answered: the channel alone doesn't notice. So each service counts in a page that the others see, as long as programs of two nodes share
 * memory; one whose count stands still is asked for a sign of life, and goes down if none comes. An idle service doesn't beat.
 *
 * The page tells the generation too, the instance of the service that beats: what an earlier one left is not taken for this one's life.
 */
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "service_between.h"
#include "sync/cpu.h"
#include "transport/window/window.h"

#define MAGIC     0x70756c73u
#define BEAT_NS   1000000000ull
#define SILENT_NS 4000000000ull
#define NO_ARENA  0 /* what memory of this kind is passed as: no arena has that number */

struct cw_pulse {
	uint32_t magic, layout;
	uint64_t node, generation;
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t beat;
	struct cw_echo echo[CW_ECHOES];
};

static struct cw_pulse *own;
static int own_fd = -1;
static uint64_t last;

/* Others can map it for reading alone, and can't cut it short. */
static bool make(void)
{
	own_fd = memfd_create("causeway pulse", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (own_fd >= 0 && ftruncate(own_fd, sizeof(*own)) == 0) {
		own = mmap(NULL, sizeof(*own), PROT_READ | PROT_WRITE, MAP_SHARED, own_fd, 0);
		own = own == MAP_FAILED ? NULL : own;
	}
	if (own && fcntl(own_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0) {
		own->magic = MAGIC;
		own->layout = CW_LAYOUT;
		own->generation = service.instance;
		return true;
	}
	if (own)
		munmap(own, sizeof(*own));
	if (own_fd >= 0)
		close(own_fd);
	own = NULL;
	own_fd = -1;
	return false;
}

/* ---- beating ---- */

static void see(struct cw_node *node, uint64_t beat)
{
	node->beat = beat;
	node->beat_at = cw_monotonic_ns();
}

static void look(struct cw_node *node)
{
	uint64_t beat = node->beats ? atomic_load_explicit(node->beats, memory_order_relaxed) : 0;

	if (!node->beats)
		return;
	if (beat != node->beat || !node->beat_at) {
		see(node, beat);
	} else if (cw_monotonic_ns() - node->beat_at > SILENT_NS) {
		cw_tally(CW_SERVICE_between_silent);
		see(node, beat); /* the channel decides; it isn't asked twice at once */
		cw_cluster_probe(node->id);
	}
}

static void forget(struct cw_node *node)
{
	node->beat_at = 0;
}

static void beat(struct cw_timer *timer)
{
	uint64_t now = cw_monotonic_ns();
	bool late = now - last > SILENT_NS;

	last = now;
	if (own)
		atomic_fetch_add_explicit(&own->beat, 1, memory_order_relaxed);
	cw_device_beat();
	/* Who was frozen himself has seen nobody beat. */
	if (cw_between_shares(late ? forget : look))
		cw_timer_set(timer, BEAT_NS);
	else
		last = 0;
}

static struct cw_timer pulse = {.expired = beat};

void cw_pulse_needed(void)
{
	if (!last)
		beat(&pulse);
}

/* ---- the pages of the others ---- */

void cw_pulse_up(struct cw_node *node)
{
	struct cw_between words = cw_between_words(CW_PULSE);

	if (!cw_windows_files() || (!own && !make()))
		return;
	own->node = cw_cluster_self();
	if (getrandom(&words.slot.key, sizeof(words.slot.key), 0) == sizeof(words.slot.key) &&
	    cw_windows_pass(node, NO_ARENA, words.slot.key, own_fd))
		cw_between_say(node, &words);
	else
		cw_tally(CW_SERVICE_between_unpassed);
}

void cw_pulse_down(struct cw_node *node)
{
	if (node->page)
		munmap(node->page, node->page_size);
	node->page = NULL;
	node->beats = NULL;
	node->echoes = NULL;
	node->beat_at = 0;
}

void cw_pulse_watch(struct cw_node *node, void *page, size_t size, const _Atomic uint64_t *beats, const struct cw_echo *echoes)
{
	cw_pulse_down(node);
	node->page = page;
	node->page_size = size;
	node->beats = beats;
	node->echoes = echoes;
}

struct cw_echo *cw_pulse_echoes(void)
{
	return own ? own->echo : NULL;
}

void cw_pulse_heard(struct cw_node *node, const struct cw_between *words)
{
	const struct cw_cluster_node *known = cw_cluster_node(node->id);
	int fd = cw_windows_take(node->id, NO_ARENA, words->slot.key);
	struct cw_pulse *page = fd < 0 ? NULL : cw_window_map(fd, sizeof(*page), false);

	if (fd >= 0)
		close(fd);
	if (page && known && page->magic == MAGIC && page->layout == CW_LAYOUT && page->node == node->id &&
	    page->generation == known->instance) {
		cw_pulse_watch(node, page, sizeof(*page), &page->beat, page->echo);
		return;
	}
	cw_tally(CW_SERVICE_between_misused);
	if (page)
		munmap(page, sizeof(*page));
}
