# Five families of Hugging Face transformers, tiny and with random weights: nothing is downloaded.
# Each factory's arguments can be set with -a: hf.py:gpt2 -a layers=12 -a width=768 -a heads=12.
import transformers


def gpt2(layers=12, width=48, heads=4, vocabulary=50257):
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=layers, n_embd=width, n_head=heads, n_positions=1024, vocab_size=vocabulary
        )
    )


def bert(layers=4, width=48, heads=4, vocabulary=30522):
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            intermediate_size=4 * width,
            num_attention_heads=heads,
            vocab_size=vocabulary,
        )
    )


def llama(layers=16, width=64, heads=4, groups=2, vocabulary=32000):
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            intermediate_size=3 * width,
            num_attention_heads=heads,
            num_key_value_heads=groups,
            vocab_size=vocabulary,
        )
    )


def t5(layers=3, width=48, heads=4, vocabulary=32128):
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            num_layers=layers,
            d_model=width,
            d_kv=width // heads,
            d_ff=4 * width,
            num_heads=heads,
            vocab_size=vocabulary,
        )
    )


def vit(layers=4, width=48, heads=4, image=32, patch=8):
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            intermediate_size=4 * width,
            num_attention_heads=heads,
            image_size=image,
            patch_size=patch,
        )
    )
