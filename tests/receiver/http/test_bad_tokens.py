"""Bad tokens are counted by address, in bounded memory, and never limit anybody else."""

from __future__ import annotations

from support.clocks import Clock

from receiver.http.bad_tokens import BadTokens


def test_sixty_bad_tokens_a_minute_are_allowed_and_further_ones_are_not() -> None:
    clock = Clock()
    tokens = BadTokens(clock=clock)

    assert [tokens.count("192.0.2.1") for _ in range(60)] == [0] * 60
    assert tokens.count("192.0.2.1") == 60

    clock.now += 45.2
    assert tokens.count("192.0.2.1") == 15


def test_after_the_minute_the_address_begins_anew() -> None:
    clock = Clock()
    tokens = BadTokens(clock=clock)
    for _ in range(100):
        tokens.count("192.0.2.1")

    clock.now += 60

    assert [tokens.count("192.0.2.1") for _ in range(60)] == [0] * 60
    assert tokens.count("192.0.2.1") > 0


def test_retry_after_is_never_less_than_a_second() -> None:
    clock = Clock()
    tokens = BadTokens(limit=0, clock=clock)
    tokens.count("192.0.2.1")
    clock.now += 59.9

    assert tokens.count("192.0.2.1") == 1


def test_one_address_does_not_limit_another() -> None:
    tokens = BadTokens(limit=1, clock=Clock())
    for _ in range(9):
        tokens.count("192.0.2.1")

    assert tokens.count("192.0.2.2") == 0
    assert tokens.count("2001:db8::1") == 0
    assert tokens.count(None) == 0


def test_ipv6_addresses_of_one_network_count_together() -> None:
    tokens = BadTokens(limit=1, clock=Clock())
    tokens.count("2001:db8:0:1::1")

    assert tokens.count("2001:db8:0:1:ffff::2") > 0
    assert tokens.count("2001:DB8::1:ffff:0:0:2%eth0") > 0
    assert tokens.count("2001:db8:0:2::1") == 0


def test_an_ipv4_address_is_the_same_however_it_is_written() -> None:
    tokens = BadTokens(limit=1, clock=Clock())
    tokens.count("192.0.2.1")

    assert tokens.count("::ffff:192.0.2.1") > 0
    assert tokens.count("::ffff:192.0.2.2") == 0


def test_what_is_no_address_is_counted_as_it_stands() -> None:
    tokens = BadTokens(limit=1, clock=Clock())
    tokens.count("unix:socket")

    assert tokens.count("unix:socket") > 0


def test_memory_is_bounded_and_the_oldest_address_goes_first() -> None:
    clock = Clock()
    tokens = BadTokens(limit=1, addresses=100, clock=clock)
    for n in range(1000):
        clock.now += 0.001
        tokens.count(f"192.0.{n // 256}.{n % 256}")

    assert len(tokens) == 100
    assert tokens.count("192.0.3.231") > 0
    assert tokens.count("192.0.0.1") == 0
    assert len(tokens) == 100


def test_a_clock_that_goes_backwards_begins_a_new_window() -> None:
    clock = Clock()
    tokens = BadTokens(limit=1, clock=clock)
    tokens.count("192.0.2.1")
    clock.now -= 100

    assert tokens.count("192.0.2.1") == 0
