"""Throughput of TensorFlow on the ResNet-8 that benches/train.rs trains, for comparison; optional.

    python3 -m venv venv && venv/bin/pip install tensorflow-cpu
    venv/bin/python crates/train/benches/tensorflow_resnet8.py [batch] [threads]

Prints training samples a second and the processor time of one: model.fit on synthetic pictures in
memory, SGD with momentum, the first epoch (which traces and compiles) left out.
"""
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
BATCH = int(sys.argv[1]) if len(sys.argv) > 1 else 64
THREADS = int(sys.argv[2]) if len(sys.argv) > 2 else 2

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
L = tf.keras.layers


def block(x, channels, kernel, stride, norm=True, relu=True):
    x = L.Conv2D(channels, kernel, strides=stride, padding="same")(x)
    x = L.BatchNormalization()(x) if norm else x
    return L.ReLU()(x) if relu else x


def resnet8():
    inputs = L.Input((32, 32, 3))
    x = block(inputs, 16, 3, 1)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = block(x, channels, 3, stride)
        y = block(y, channels, 3, 1, relu=False)
        if stride > 1:
            x = block(x, channels, 1, stride, norm=False, relu=False)
        x = L.ReLU()(L.Add()([x, y]))
    x = L.GlobalAveragePooling2D()(x)
    return tf.keras.Model(inputs, L.Dense(10)(x))


model = resnet8()
loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(tf.keras.optimizers.SGD(0.01, momentum=0.9), loss, metrics=["accuracy"])
n = 2048 // BATCH * BATCH
rng = np.random.default_rng(0)
images = rng.uniform(-1, 1, (n, 32, 32, 3)).astype(np.float32)
labels = rng.integers(0, 10, n)
model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0)
rates = []
cpu = time.process_time()
for _ in range(4):
    start = time.perf_counter()
    model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0)
    rates.append(n / (time.perf_counter() - start))
cpu = (time.process_time() - cpu) / (4 * n) * 1e3
speeds = " ".join(f"{r:.0f}" for r in rates)
print(f"TensorFlow {tf.__version__}, batch {BATCH}, {THREADS} threads: {speeds} img/s, {cpu:.2f} CPU ms/img")
