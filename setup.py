"""HMACA: local image restoration for BasicSR."""

from pathlib import Path

from setuptools import find_packages, setup

PLOTS = ['matplotlib>=3.7']
HEIC = ['pillow-heif>=0.18,<2']
JPEG = ['jpeglib>=1.0,<2']
ONNX = ['onnx>=1.17,<2', 'onnxruntime>=1.20,<2']

setup(
    name='hmaca',
    version='0.1.0',
    description='HMANet and HMACA for BasicSR: restore a masked region of a picture, leave every other pixel as it was',
    long_description=(Path(__file__).parent / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    packages=[
        *find_packages(include=['hmaca_arch', 'hmaca_arch.*', 'datasets_ext', 'losses_ext']),
        'hmaca_arch.option_files',
    ],
    package_dir={
        'hmaca_arch.option_files': 'options'
    },  # found by name after installation: hmaca_arch/config/shipped.py
    package_data={
        'hmaca_arch': ['py.typed', 'weights/*.pth'],
        'hmaca_arch.option_files': ['*.yml', '*.json', 'data/*.yml', 'train/*.yml'],
        'datasets_ext': ['py.typed'],
        'losses_ext': ['py.typed'],
    },
    python_requires='>=3.10',
    install_requires=[
        'basicsr==1.4.2',  # what hmaca_arch.training.pipeline replaces by name is this version's
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
        'heic': HEIC,
        'jpeg': JPEG,
        'demo': ['gradio>=6.31,<7'],
        'plots': PLOTS,
        'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.6,<10', 'mkdocstrings[python]>=0.26,<2'],
        'test': [
            'pytest>=7.4',
            'pytest-xdist>=3.3',
            'pytest-cov>=7',
            'coverage>=7.10',
            'hypothesis>=6.80',
            'safetensors>=0.4',
            'ruff>=0.5',
            'spandrel>=0.4,<0.5',
            *ONNX,
            *PLOTS,
            *HEIC,
            *JPEG,
        ],
    },
    entry_points={'console_scripts': ['basicsr = hmaca_arch.cli:main']},
)
