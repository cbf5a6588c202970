#!/bin/sh
# Runs tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy: the modules of the checkout stay.
#
#   tests/sanitize.sh [arguments of pytest, default: tests]
#
# PYTHON names the interpreter (default: python), which needs what the tests need; gcc and its libasan have to be there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
copy=${SANITIZE_DIR:-$root/build/sanitize}
mkdir -p "$copy"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf -) | tar -xf - -C "$copy"
cd "$copy"
sanitizers=address,undefined
flags="-fsanitize=$sanitizers -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1"
CC=gcc CFLAGS="$flags" LDFLAGS="-fsanitize=$sanitizers" "$python" setup.py -q build_ext --inplace
# The C++ library has to be there before SciPy brings it, for ASan looks for its `throw` once.
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
# Reports go to files: pytest would swallow the last words of a process that ends at once.
reports=$copy/report
rm -f "$reports".*
# Python frees nothing at its end, so leaks are not looked for; its own allocator would hide what we want to see.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1:quarantine_size_mb=64:log_path=$reports
export UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports
export PYTHONMALLOC=malloc
status=0
LD_PRELOAD=$preload "$python" -m pytest -q -p no:cacheprovider "${@:-tests}" || status=$?
for report in "$reports".*; do [ ! -e "$report" ] || { cat "$report" >&2; status=1; }; done
exit "$status"
