"""Measures the training speed of the tutorial's network in Keras, in epochs per second.

The network is LSTM(50), LSTM(50), softmax with batches of 128. bench/train.py runs this script in
an environment with Keras and TensorFlow. The images are noise because only the time matters, and
an epoch on noise takes the same time.
"""

import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("OMP_NUM_THREADS", None)  # use all cores, the default

import keras
import numpy as np
import tensorflow

inputs = np.random.default_rng(0).random((12_800, 28, 28), dtype=np.float32)
target = np.random.default_rng(1).integers(0, 10, 12_800)
model = keras.Sequential(
    [
        keras.layers.Input((28, 28)),
        keras.layers.LSTM(50, return_sequences=True),
        keras.layers.LSTM(50),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(inputs, target, batch_size=128, epochs=1, verbose=0)
start = time.perf_counter()
model.fit(inputs, target, batch_size=128, epochs=3, verbose=0)
rate = 3 * len(inputs) / 60_000 / (time.perf_counter() - start)
versions = f"Keras {keras.__version__}, TensorFlow {tensorflow.__version__}"
print(json.dumps({"rate": rate, "versions": versions}))
