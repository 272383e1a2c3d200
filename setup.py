"""HMACA: local image restoration for BasicSR."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CODE = (HERE / 'hmaca_arch/__init__.py').read_text('utf-8')
VERSION = re.findall(r"__version__ = '(.+)'", CODE)[0]
PLOTS = ['matplotlib>=3.7']
DEMO = ['starlette>=0.46', 'uvicorn>=0.30', 'python-multipart>=0.0.20']
HEIC = ['pillow-heif>=0.18,<2']
JPEG = ['jpeglib>=1.0,<2', 'imagecodecs>=2023.9.18']
ONNX = ['onnx>=1.17,<2', 'onnxruntime>=1.20,<2']

setup(
    name='hmaca',
    version=VERSION,
    description='HMANet and HMACA for BasicSR: restore a region of an image, change no other pixel',
    long_description=(HERE / 'README.md').read_text('utf-8'),
    long_description_content_type='text/markdown',
    author='The HMACA developers',
    # The repository has no public address yet.
    project_urls={'BasicSR': 'https://github.com/XPixelGroup/BasicSR'},
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['image restoration', 'BasicSR', 'PyTorch', 'deblurring', 'denoising'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Image Processing',
        'Typing :: Typed',
    ],
    packages=[
        *find_packages(include=['hmaca_arch', 'hmaca_arch.*', 'datasets_ext', 'losses_ext']),
        'hmaca_arch.option_files',
    ],
    # So that they are found by name after installation: hmaca_arch/config/shipped.py
    package_dir={'hmaca_arch.option_files': 'options'},
    package_data={
        'hmaca_arch': [
            'py.typed',
            'weights/*.pth',
            'page/static/*',
            'comfyui/*.json',
            'comfyui/example_workflows/*',
        ],
        'hmaca_arch.option_files': ['*.yml', '*.json', 'data/*.yml', 'train/*.yml'],
        'datasets_ext': ['py.typed'],
        'losses_ext': ['py.typed'],
    },
    python_requires='>=3.10',
    install_requires=[
        'basicsr==1.4.2',  # hmaca_arch.training.pipeline replaces parts of this version by name
        'torch>=2.4',
        'torchvision>=0.19',
        'opencv-python>=4.6',
        'lmdb>=1.4',
        'pyyaml>=6.0',
        'einops>=0.7',
        'scikit-image>=0.21',
        'scipy>=1.10',
        'numpy>=1.23',
        'pillow>=11.3',  # reads and writes AVIF
        'tifffile>=2023.7',
        'tqdm>=4.60',
    ],
    extras_require={
        'compare': ['spandrel>=0.4,<0.5'],
        'onnx': ONNX,
        'demo': DEMO,
        'plots': PLOTS,
        'heic': HEIC,
        'jpeg': JPEG,
        'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.6,<10', 'mkdocstrings[python]>=0.26,<2'],
        'test': [
            'pytest>=7.4',
            'pytest-xdist>=3.3',
            'pytest-cov>=7',
            'coverage>=7.10',
            'hypothesis>=6.80',
            'safetensors>=0.4',
            'ruff>=0.5',
            'mypy>=1.14',
            'types-PyYAML',
            'spandrel>=0.4,<0.5',
            *DEMO,
            *ONNX,
            *PLOTS,
            *HEIC,
            *JPEG,
        ],
    },
    entry_points={'console_scripts': ['basicsr = hmaca_arch.cli:main']},
)
