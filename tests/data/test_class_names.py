"""Names of ImageNet's classes: synset id and words, in index order."""

from resnet_jax.data import class_names


def test_there_are_1000_names_in_the_order_of_the_synset_ids():
    names = class_names.imagenet_names()
    assert len(names) == 1000
    assert list(names) == sorted(names)
    assert len(set(names.values())) == 1000


def test_a_name_is_the_synset_id_and_its_words():
    names = class_names.imagenet_names()
    assert all(name.startswith(f'{key} ') and len(name) > 11 for key, name in names.items())
    by_index = list(names.values())
    assert by_index[0] == 'n01440764 tench, Tinca tinca'
    assert by_index[281] == 'n02123045 tabby, tabby cat'
    assert by_index[999] == 'n15075141 toilet tissue, toilet paper, bathroom tissue'


def test_equal_words_stay_apart_by_their_ids():
    by_index = list(class_names.imagenet_names().values())
    assert by_index[134] == 'n02012849 crane'
    assert by_index[517] == 'n03126707 crane'


def test_only_synset_ids_of_imagenet_get_words():
    assert class_names.describe(['n02123045', 'cat', 'n00000000', '7', '']) == (
        'n02123045 tabby, tabby cat',
        'cat',
        'n00000000',
        '7',
        '',
    )
