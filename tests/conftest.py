"""What all tests need."""
import signal


def pytest_configure():
    """Ctrl-C interrupts, also where a shell without job control has started the tests and it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
