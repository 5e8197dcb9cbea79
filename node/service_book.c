#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service.h"
#include "transport/window/window.h"

void *cw_book_room(const char *name, size_t size, int *fd)
{
	void *memory = NULL;

	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	if (ftruncate(*fd, (off_t)size) == 0 && fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		memory = cw_window_map(*fd, size, true);
	if (!memory) {
		int error = errno;

		close(*fd);
		*fd = -1;
		errno = error;
	}
	return memory;
}

struct cw_book *cw_book_make(int *fd)
{
	struct cw_book *book = cw_book_room("causeway book", sizeof(*book), fd);

	if (!book)
		return NULL;
	book->layout = CW_LAYOUT;
	book->entries = CW_BOOK_ENTRIES;
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
