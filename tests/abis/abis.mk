# The oracle's programs of other kinds; by clang only the library is built so.
ABIS.yes = oracle32 oracletime64
ABIS_OF_MUSL.yes = oraclemusl
abis: $(if $(findstring clang,$(CC)),,$(ABIS.$(MAKES_32)) $(ABIS_OF_MUSL.$(MAKES_MUSL)))

.PHONY: abis
