"""Keys that nothing in BasicSR reads."""

from hmaca_arch.config.unread import unread, words_in_basicsr


def test_a_key_is_read_if_it_is_known_or_stands_in_basicsrs_code():
    assert {'ema_decay', 'gt_size', 'net_d_iters', 'io_backend'} <= words_in_basicsr()
    section = {'ema_decay': 1, 'own': 2, 'ema_decya': 3, 3: 4}
    assert list(unread('train:', section, ('own', 'ema_decay'))) == [
        'train:ema_decya: nothing reads it (did you mean ema_decay? known: ema_decay, own)',
        'train:3: nothing reads it (known: ema_decay, own)',
    ]
