"""Train a small diffusion model on photographs/ with plain diffusers, and let it make six pictures.

Stands for a model that comes from elsewhere: nothing of the workflow is used. Some minutes on one core.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

SIDE, STEPS, BATCH = 8, 1500, 64

torch.set_num_threads(1)  # more do not make so small a network faster
torch.manual_seed(0)
images = []
for path in sorted(Path("photographs").rglob("*.png")):
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        images.append(torch.tensor(np.asarray(small)).permute(2, 0, 1) / 127.5 - 1)
data = torch.stack(images)

network = UNet2DModel(
    sample_size=SIDE,
    layers_per_block=1,
    block_out_channels=(32, 64),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=8,
)
scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
for step in range(STEPS):
    batch = data[torch.randint(len(data), (BATCH,))]
    noise, timesteps = torch.randn_like(batch), torch.randint(len(scheduler), (BATCH,))
    predicted = network(scheduler.add_noise(batch, noise, timesteps), timesteps).sample
    torch.nn.functional.mse_loss(predicted, noise).backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 100 == 0:
        print(f"step {step} of {STEPS}", flush=True)

pipeline = DDPMPipeline(network, scheduler)
pipeline.save_pretrained("my-model")
Path("my-pictures").mkdir(exist_ok=True)
made = pipeline(batch_size=6, num_inference_steps=100, generator=torch.Generator().manual_seed(0))
for number, picture in enumerate(made.images):
    picture.save(f"my-pictures/{number}.png")
