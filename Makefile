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
LIBRARY_ASSEMBLER := $(wildcard remap/*.S)
SHARED_SOURCES := $(wildcard sync/*.c) $(wildcard transport/window/*.c) transport/shm/arena.c transport/shm/arena_make.c $(wildcard transport/pci/*.c) sockets/book.c sockets/policy.c
SERVICE_SOURCES := $(filter-out node/causeway.c node/program.c node/command_%.c,$(wildcard node/*.c)) $(sort $(SHARED_SOURCES) $(wildcard sockets/*.c))
COMMAND_SOURCES := node/causeway.c $(wildcard node/command_*.c) $(filter-out node/causewayd.c node/service_%.c,$(filter-out node/causeway.c node/command_%.c,$(wildcard node/*.c))) remap/text.c $(SHARED_SOURCES)

LIBRARY_OBJECTS := $(LIBRARY_SOURCES:%.c=$(BUILD)/inside/%.o) $(LIBRARY_ASSEMBLER:%.S=$(BUILD)/inside/%.o)
SERVICE_OBJECTS := $(SERVICE_SOURCES:%.c=$(BUILD)/outside/%.o)
COMMAND_OBJECTS := $(COMMAND_SOURCES:%.c=$(BUILD)/outside/%.o)

all: $(BUILD)/libcauseway.so $(BUILD)/causewayd $(BUILD)/causeway $(BUILD)/causeway-load abi

$(BUILD)/libcauseway.so: $(LIBRARY_OBJECTS)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) $(LINK_INSIDE) -o $@ $^

$(BUILD)/causewayd: $(SERVICE_OBJECTS)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson -lnuma -lhwloc -lsodium

$(BUILD)/causeway: $(COMMAND_OBJECTS)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson -lhwloc -lnuma -lsodium

$(BUILD)/causeway-load: $(BUILD)/outside/load/load.o
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -pie -o $@ $^

$(BUILD)/outside/load/load.o: CFLAGS += -fPIE

# The library for programs of another kind, in directories of their own: a dynamic linker that is given
# LD_PRELOAD=.../abi/$LIB/libcauseway.so takes the one that fits, without a word.
ABI = $(BUILD)/abi
ABI_OF_32 = $(ABI)/lib/i386-linux-gnu/libcauseway.so
ABI_OF_MUSL = $(ABI)/$$LIB/libcauseway.so
MULTIARCH := $(or $(shell gcc -print-multiarch 2>/dev/null),$(shell uname -m)-linux-gnu)
MUSL_CC ?= musl-gcc
OBJECTS_OF_32 := $(LIBRARY_SOURCES:%.c=$(BUILD)/inside32/%.o)
OBJECTS_OF_MUSL := $(LIBRARY_SOURCES:%.c=$(BUILD)/insidemusl/%.o)
LINK_INSIDE = -shared -Wl,-soname,libcauseway.so -Wl,-z,defs -Wl,-z,now -Wl,-Bsymbolic-functions -Wl,--hash-style=gnu -static-libgcc
# By name: what CW_TABLE marks comes last.
LINK_INSIDE += -Wl,--sort-section=name

ifeq ($(SANITIZE)$(findstring x86_64,$(MULTIARCH)),x86_64)
MAKES_32 := $(shell printf '\043include <stdlib.h>\nint main(void) { return 0; }' | $(CC) -m32 -x c -o /dev/null - 2>/dev/null && echo yes)
else
MAKES_32 := other
endif
ifneq ($(SANITIZE)$(findstring clang,$(CC)),)
MAKES_MUSL := other
else
MAKES_MUSL := $(shell printf '\043include <stdlib.h>\nint main(void) { return 0; }' | $(MUSL_CC) -x c -o /dev/null - 2>/dev/null && echo yes)
endif

ABI_MADE.yes = abi-32
ABI_MADE. = abi-none-32
ABI_MADE_MUSL.yes = abi-musl
ABI_MADE_MUSL. = abi-no-musl
abi: abi-native $(ABI_MADE.$(MAKES_32)) $(ABI_MADE_MUSL.$(MAKES_MUSL))

abi-native: $(BUILD)/libcauseway.so
	@mkdir -p $(ABI)/lib/$(MULTIARCH)
	@ln -sfn ../../../libcauseway.so $(ABI)/lib/$(MULTIARCH)/libcauseway.so
	@ln -sfn ../../libcauseway.so $(ABI)/lib/libcauseway.so
	@ln -sfn lib/$(MULTIARCH) $(ABI)/lib64

abi-32: $(ABI_OF_32)
	@ln -sfn lib/i386-linux-gnu $(ABI)/lib32

$(ABI_OF_32): $(OBJECTS_OF_32)
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) -m32 $(CFLAGS) $(LINK_INSIDE) -o $@ $^

# An empty library keeps the dynamic linker of such programs silent; it needs no header and no C library.
abi-none-32:
	@echo 'The library for programs of 32 bits is not built, they stay on kernel TCP: $(CC) makes none here (package gcc-multilib).'
	@mkdir -p $(ABI)/lib/i386-linux-gnu
	@echo 'extern int cw_nothing; int cw_nothing;' | $(CC) -m32 -shared -nostdlib -fPIC -fvisibility=hidden -x c -o $(ABI_OF_32) - 2>/dev/null || true
	@ln -sfn lib/i386-linux-gnu $(ABI)/lib32

abi-musl: $(ABI_OF_MUSL)

# musl comes without the kernel's headers; the C library's own must not be seen.
$(BUILD)/muslinclude/linux:
	@mkdir -p $(@D)
	@ln -sfn /usr/include/$(MULTIARCH)/asm $(@D)/asm
	@ln -sfn /usr/include/asm-generic $(@D)/asm-generic
	@ln -sfn /usr/include/linux $@

$(ABI_OF_MUSL): $(OBJECTS_OF_MUSL)
	@mkdir -p '$(@D)'
	@echo '  LINK    $@'
	@$(MUSL_CC) $(CFLAGS) $(LINK_INSIDE) -o '$@' $(OBJECTS_OF_MUSL)

abi-no-musl:
	@echo 'The library for programs of musl is not built, they stay on kernel TCP: there is no $(MUSL_CC) (package musl-tools).'

$(BUILD)/inside32/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(CC) -m32 $(COMMON) -Wno-psabi $(INSIDE) -MT '$$(BUILD)/inside32/$*.o' -c -o $@ $<

$(BUILD)/insidemusl/%.o: %.c | $(BUILD)/muslinclude/linux
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(MUSL_CC) $(COMMON) $(INSIDE) -idirafter $(BUILD)/muslinclude -MT '$$(BUILD)/insidemusl/$*.o' -c -o $@ $<

# Dependencies name $(BUILD) itself: it is one directory, whether it is given as a relative or an absolute name.
$(BUILD)/inside/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(CC) $(COMMON) $(INSIDE) -MT '$$(BUILD)/inside/$*.o' -c -o $@ $<

$(BUILD)/inside/%.o: %.S
	@mkdir -p $(@D)
	@echo '  AS      $@'
	@$(CC) -g -MMD -MP -MT '$$(BUILD)/inside/$*.o' -c -o $@ $<

$(BUILD)/outside/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(CC) $(COMMON) -MT '$$(BUILD)/outside/$*.o' -c -o $@ $<

# The kernel module, for nodes that share memory by a device: kmod/README.md.
kmod:
	$(MAKE) -C kmod BUILD=$(abspath $(BUILD))/kmod

clean:
	rm -rf $(BUILD)

FORMATTED = $(wildcard sync/*.[ch] transport/*/*.[ch] sockets/*.[ch] remap/*.[ch] node/*.[ch] load/*.[ch] benchmarks/*.[ch] tests/*/*.[ch])
format:
	@clang-format -i $(FORMATTED)

lint:
	@clang-format --dry-run -Werror $(FORMATTED)
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -I. -D_GNU_SOURCE -D__x86_64__ --suppress=missingIncludeSystem --library=node/uthash.cfg $(filter-out tests/%,$(filter %.c,$(FORMATTED)))

install: all
	install -D -m 755 $(BUILD)/causeway $(DESTDIR)$(PREFIX)/bin/causeway
	install -D -m 755 $(BUILD)/causewayd $(DESTDIR)$(PREFIX)/sbin/causewayd
	install -D -m 755 $(BUILD)/libcauseway.so $(DESTDIR)$(LIBDIR)/libcauseway.so
	install -D -m 755 $(BUILD)/causeway-load $(DESTDIR)$(LIBDIR)/causeway-load
	install -d $(DESTDIR)$(LIBDIR)/causeway
	cp -R --remove-destination $(ABI)/. $(DESTDIR)$(LIBDIR)/causeway/
	ln -sfn ../../../libcauseway.so $(DESTDIR)$(LIBDIR)/causeway/lib/$(MULTIARCH)/libcauseway.so
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/sbin|$(PREFIX)/sbin|' node/causewayd.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/causewayd.service
	for page in docs/man/*.[1458]; do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done

-include tests/tests.mk
-include benchmarks/benchmarks.mk
-include $(OBJECTS_OF_32:.o=.d) $(OBJECTS_OF_MUSL:.o=.d)
-include $(LIBRARY_OBJECTS:.o=.d) $(SERVICE_OBJECTS:.o=.d) $(COMMAND_OBJECTS:.o=.d)

.PHONY: all kmod clean format lint install abi abi-native abi-32 abi-none-32 abi-musl abi-no-musl
.DEFAULT_GOAL := all
