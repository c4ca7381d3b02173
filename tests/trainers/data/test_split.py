"""The coin that parts training from validation. False alarms: less than once in 10^5 runs."""

import hashlib
import hmac

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.split import identity_of_record, identity_of_user, validates

KEY = bytes(range(32))
identities = st.lists(st.binary(max_size=8), max_size=30)


@settings(max_examples=100, deadline=None)
@given(identities, st.floats(0.01, 0.99), st.data())
def test_a_side_depends_on_nothing_but_identity_and_key(records, share, data):
    sides = dict(zip(records, validates(records, KEY, share), strict=True))
    others = data.draw(st.permutations([*records, *data.draw(identities)]))
    assert all(sides.get(one, side) == side for one, side in zip(others, validates(others, KEY, share), strict=True))


def test_it_is_the_mac_of_the_identity():
    """Written down again: a split must be the same in every version, or records change sides."""
    record = {"text": "a", "label": 1}
    mac = hmac.new(KEY, b'dpzo split, record:{"label":1,"text":"a"}', hashlib.sha256).digest()
    share = int.from_bytes(mac[:8]) / 2**64
    assert validates([identity_of_record(record)], KEY, share * 0.999) == [False]
    assert validates([identity_of_record(record)], KEY, share * 1.001) == [True]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_met_and_keys_are_unrelated(share):
    users = [identity_of_user(str(number)) for number in range(20_000)]
    first, second = (np.array(validates(users, key, share)) for key in (KEY, KEY[::-1]))
    deviation = np.sqrt(share * (1 - share) / len(users))
    assert abs(first.mean() - share) < 4.5 * deviation
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / np.sqrt(len(users))


def test_a_larger_share_keeps_what_it_had():
    users = [identity_of_user(str(number)) for number in range(500)]
    smaller, larger = (np.array(validates(users, KEY, share)) for share in (0.2, 0.4))
    assert (larger >= smaller).all()


def test_users_and_records_have_coins_of_their_own():
    assert identity_of_user("{}") != identity_of_record({})
    with pytest.raises(ValueError, match="at least 16 secret bytes"):
        validates([], b"short", 0.5)
