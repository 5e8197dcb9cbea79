#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service.h"
#include "transport/window/window.h"

static struct cw_book *fill(int fd)
{
	struct cw_book *book;

	if (ftruncate(fd, sizeof(*book)) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return NULL;
	book = cw_window_map(fd, sizeof(*book), true);
	if (!book)
		return NULL;
	book->layout = CW_LAYOUT;
	book->entries = CW_BOOK_ENTRIES;
	return book;
}

struct cw_book *cw_book_make(int *fd)
{
	struct cw_book *book;

	*fd = memfd_create("causeway book", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	book = fill(*fd);
	if (!book) {
		int error = errno;

		close(*fd);
		*fd = -1;
		errno = error;
	}
	return book;
}

void cw_book_drop(struct cw_book *book)
{
	if (book)
		munmap(book, sizeof(*book));
}

uint32_t cw_book_used(const struct cw_book *book)
{
	uint32_t highest = atomic_load_explicit(&book->highest, memory_order_acquire);

	/* "Entries above were never used": the highest itself may be. */
	return highest < CW_BOOK_ENTRIES ? highest + 1 : CW_BOOK_ENTRIES;
}
