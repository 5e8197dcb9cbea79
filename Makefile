# Causeway: `make` builds, `make demo` shows, `make check` tests. What is needed is installed by tests/packages (Debian).
CC ?= gcc
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
CFLAGS ?= -O2 -g
SANITIZE ?=

WARNINGS = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wno-unused-parameter
COMMON = -std=gnu11 -D_GNU_SOURCE -I. -MMD -MP $(WARNINGS) $(CFLAGS) $(SANITIZE)
# The library inside programs: position independent, nothing exported but what it means to, initial-exec TLS (no allocation at the first use in a thread).
INSIDE = -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-strict-aliasing -fno-stack-protector -U_FORTIFY_SOURCE

LIBRARY_SOURCES := $(wildcard sync/*.c) $(wildcard transport/window/*.c) transport/shm/arena.c $(wildcard sockets/*.c) $(wildcard remap/*.c)
SHARED_SOURCES := $(wildcard sync/*.c) $(wildcard transport/window/*.c) transport/shm/arena.c transport/shm/arena_make.c sockets/book.c sockets/policy.c
SERVICE_SOURCES := $(filter-out node/causeway.c node/command_%.c,$(wildcard node/*.c)) $(sort $(SHARED_SOURCES) $(wildcard sockets/*.c))
COMMAND_SOURCES := node/causeway.c $(wildcard node/command_*.c) $(filter-out node/causewayd.c node/service_%.c,$(filter-out node/causeway.c node/command_%.c,$(wildcard node/*.c))) $(SHARED_SOURCES)

LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.c=$(BUILD)/inside/%.o)
SERVICE_OBJECTS := $(SERVICE_SOURCES:%.c=$(BUILD)/outside/%.o)
COMMAND_OBJECTS := $(COMMAND_SOURCES:%.c=$(BUILD)/outside/%.o)

all: $(BUILD)/libcauseway.so $(BUILD)/causewayd $(BUILD)/causeway

$(BUILD)/libcauseway.so: $(LIBRARY_OBJECTS)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -shared -Wl,-soname,libcauseway.so -Wl,-z,defs -Wl,-z,now -static-libgcc -o $@ $^

$(BUILD)/causewayd: $(SERVICE_OBJECTS)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson -lnuma -lhwloc

$(BUILD)/causeway: $(COMMAND_OBJECTS)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson -lhwloc -lnuma

# Dependencies name $(BUILD) itself: it is one directory, whether it is given as a relative or an absolute name.
$(BUILD)/inside/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(CC) $(COMMON) $(INSIDE) -MT '$$(BUILD)/inside/$*.o' -c -o $@ $<

$(BUILD)/outside/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(CC) $(COMMON) -MT '$$(BUILD)/outside/$*.o' -c -o $@ $<

clean:
	rm -rf $(BUILD)

FORMATTED = $(wildcard sync/*.[ch] transport/*/*.[ch] sockets/*.[ch] remap/*.[ch] node/*.[ch] benchmarks/*.[ch] tests/*/*.[ch])
format:
	@clang-format -i $(FORMATTED)

lint:
	@clang-format --dry-run -Werror $(FORMATTED)
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -I. -D_GNU_SOURCE -D__x86_64__ --suppress=missingIncludeSystem --library=node/uthash.cfg $(filter-out tests/%,$(filter %.c,$(FORMATTED)))

install: all
	install -D -m 755 $(BUILD)/causeway $(DESTDIR)$(PREFIX)/bin/causeway
	install -D -m 755 $(BUILD)/causewayd $(DESTDIR)$(PREFIX)/sbin/causewayd
	install -D -m 755 $(BUILD)/libcauseway.so $(DESTDIR)$(LIBDIR)/libcauseway.so
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/sbin|$(PREFIX)/sbin|' node/causewayd.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/causewayd.service
	for page in docs/man/*.[158]; do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done

-include tests/tests.mk
-include benchmarks/benchmarks.mk
-include $(LIBRARY_OBJECTS:.o=.d) $(SERVICE_OBJECTS:.o=.d) $(COMMAND_OBJECTS:.o=.d)

.PHONY: all clean format lint install
.DEFAULT_GOAL := all
