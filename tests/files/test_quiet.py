"""What C libraries print while they decode."""

import io
import os
import threading

import pytest
from PIL import Image, ImageCms

from hmaca_arch.files.quiet import quiet
from hmaca_arch.files.verifying import see


def words(inside: bool) -> None:
    if inside:
        with quiet():
            os.write(2, b'inside ')
    os.write(2, b'outside ')


def test_only_what_is_printed_inside_is_hidden(capfd):
    words(inside=True)
    assert capfd.readouterr().err == 'outside '
    with pytest.raises(KeyboardInterrupt), quiet():
        raise KeyboardInterrupt
    words(inside=False)
    assert capfd.readouterr().err == 'outside '


def test_other_threads_leave_stderr_alone(capfd):
    thread = threading.Thread(target=words, args=[True])
    thread.start()
    thread.join()
    assert capfd.readouterr().err == 'inside outside '


def test_no_descriptor_is_lost():
    before = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
    for _ in range(20):
        with quiet():
            pass
    assert not before or len(os.listdir('/proc/self/fd')) == before


def test_opencv_says_nothing_about_a_damaged_profile(capfd):
    file = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    Image.new('RGB', (8, 8)).save(file, 'PNG', icc_profile=profile)
    data = bytearray(file.getvalue())
    data[data.index(b'iCCP') + 8] ^= 1
    assert see(bytes(data)).library == 'OpenCV'
    assert capfd.readouterr().err == ''


def test_a_closed_stderr_is_no_error():
    kept = os.dup(2)
    os.close(2)
    try:
        with quiet():
            pass
    finally:
        os.dup2(kept, 2)
        os.close(kept)
